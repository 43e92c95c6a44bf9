"""From a client's reply to what an engine takes, and back."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from leakward.defenses.engines.operator import Filter, call
from leakward.defenses.vectors import straight_through
from leakward.errors import DefenseError
from leakward.federated import Evidence, Reply
from leakward.types import Tensors

ROUNDING = 4
"""Units in the last place of a weight within which its change is lost."""


def through(
    kind: Filter,
    settings: Mapping[str, Any],
    reply: Reply,
    slope: Reply,
    *,
    change: bool = False,
    counters: bool = True,
    seed: Tensor | None = None,
) -> Reply:
    """Return ``reply`` as an engine's filter ``kind`` sends it.

    Args:
        kind: A function of a module, from arrays before and after to arrays that are sent.
        settings: Its keyword arguments.
        reply: What the client hands to its engine.
        slope: A reply whose derivative stands for that of the filter, which has none.
        change: Whether the filter takes and returns the change of the weights instead of the weights.
        counters: Whether whole numbers are among what the client hands over, as in ``model.state_dict()``.
        seed: Of the engine's random numbers, (8).

    Raises:
        DivergedError: If what the client hands over is not finite.
        DefenseError: If the engine would send some trained tensor as it is, or anything that is not finite.
    """
    _require_dimensions(reply)
    after = {name: value for name, value in reply.after.items() if counters or value.is_floating_point()}
    sent = call(kind, settings, {name: reply.before[name] for name in after}, after, seed)

    def message(name: str) -> Tensor:
        moved = -sent[name] if change else reply.before[name] - sent[name]
        return straight_through(moved / reply.rate, slope.message[name])

    def buffer(name: str, value: Tensor) -> Tensor:
        if name not in sent:
            return value
        whole = reply.before[name] + sent[name] if change else sent[name]
        return straight_through(whole, slope.buffers[name]) if value.is_floating_point() else whole

    return replace(
        reply,
        message={name: message(name) for name in reply.message},
        buffers={name: buffer(name, value) for name, value in reply.buffers.items()},
    )


def _require_dimensions(reply: Reply) -> None:
    single: list[str] = [name for name, value in reply.message.items() if value.ndim == 0]
    if single:
        raise DefenseError(
            f"filter of an engine: expected trained tensors of at least one dimension, got {single[0]!r} of none, "
            "which engines send as it is; give it the shape (1)"
        )


def visible(seen: Reply) -> Tensors:
    """Return the sizes of the weights that the server was sent; 0 where they are no more than rounding."""
    sent = {name: (seen.before[name] - seen.rate * value).abs() for name, value in seen.message.items()}
    slack = {n: ROUNDING * torch.finfo(value.dtype).eps * seen.before[n].abs() for n, value in sent.items()}
    return {name: torch.where(value > slack[name], value, 0.0) for name, value in sent.items()}


def only(seen: Reply, shown: Tensors) -> Evidence:
    """Take the changes of the entries that are ``shown``, and trust no others; what is 0 is not known."""
    return Evidence(
        {name: torch.where(shown[name], value, 0.0) for name, value in seen.message.items()},
        {name: shown[name].to(value.dtype) for name, value in seen.message.items()},
    )
