"""A filter of an engine as one operator of PyTorch, so that ``vmap``, ``grad`` and traces can pass around it.

Engines compute on NumPy arrays, in place, and draw from NumPy's global generator. The operator hands copies over, and
lends that generator: it is set from the client's tape before, and put back afterwards.
"""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leakward.errors import DefenseError, DivergedError, LeakwardError
from leakward.tape import Tape
from leakward.types import Tensors

Arrays = dict[str, Any]
"""NumPy arrays by name."""
Filter = Callable[..., Arrays]
"""From the arrays before and after local training, and plain settings, to the arrays that are sent."""
WORDS, WORD = 8, 2**16
"""A seed is so many whole numbers below so many, which single precision holds exactly."""


def require(package: str, extra: str, name: str) -> None:
    """Raise ``DefenseError`` if the engine of defence ``name`` is not installed."""
    if find_spec(package) is None:
        raise DefenseError(f"{name}: expected {package}, which is not installed; install leakward[{extra}]")


def draw_seed(tape: Tape, like: Tensor) -> Tensor:
    """Return a seed for one call of an engine, (8)."""
    return (tape.uniform((WORDS,), like) * WORD).floor()


def call(kind: Filter, settings: Mapping[str, Any], before: Tensors, after: Tensors, seed: Tensor | None) -> Tensors:
    """Return what an engine sends, name by name; it has no derivative.

    Args:
        kind: A function of a module, which runs the engine's filter.
        settings: Its keyword arguments, plain values.
        before: Tensors that the server sent.
        after: The same after local training.
        seed: Of NumPy's global generator during the call, (8); 0 if left out.

    Raises:
        DivergedError: If a value is not finite before.
        DefenseError: If a value is not finite after, or if the engine did not filter.
    """
    like = next(iter(after.values()))
    words = torch.zeros(WORDS, dtype=like.dtype, device=like.device) if seed is None else seed
    target = f"{kind.__module__}:{kind.__qualname__}"
    given = [value.detach() for part in (before, after) for value in part.values()]
    sent = engine_filter(given, words.detach(), target, json.dumps({"names": list(after), "settings": dict(settings)}))
    return dict(zip(after, sent, strict=True))


@torch.library.custom_op("leakward::engine_filter", mutates_args=())
def engine_filter(given: list[Tensor], words: Tensor, target: str, plan: str) -> list[Tensor]:
    """Run the filter ``target`` on the tensors before and after local training, as ``call`` lays them out."""
    facts = json.loads(plan)
    names, settings = facts["names"], facts["settings"]
    arrays = [value.cpu().numpy().copy() for value in given]
    before, after = (dict(zip(names, part, strict=True)) for part in (arrays[: len(names)], arrays[len(names) :]))
    _require_finite(after, target, "the client's weights", DivergedError)
    module, _, function = target.partition(":")
    with _generator_set_to(words):
        sent = getattr(import_module(module), function)(before, after, **settings)
    _require_finite(sent, target, "the engine's output", DefenseError)
    found = [torch.as_tensor(np.asarray(sent[name])) for name in names]
    return [value.to(like, copy=True) for value, like in zip(found, given[len(names) :], strict=True)]


@engine_filter.register_fake
def _(given: list[Tensor], words: Tensor, target: str, plan: str) -> list[Tensor]:
    del words, target, plan
    return [torch.empty_like(value) for value in given[len(given) // 2 :]]


@engine_filter.register_vmap
def _(
    info: Any, in_dims: Any, given: list[Tensor], words: Tensor, target: str, plan: str
) -> tuple[list[Tensor], list[int]]:
    """Call the engine for one client after the other."""
    dims, words_dim = in_dims[:2]

    def one(value: Tensor, dim: int | None, i: int) -> Tensor:
        return value if dim is None else value.select(dim, i)

    sent = [
        engine_filter([one(v, d, i) for v, d in zip(given, dims, strict=True)], one(words, words_dim, i), target, plan)
        for i in range(info.batch_size)
    ]
    return [torch.stack(values) for values in zip(*sent, strict=True)], [0] * len(sent[0])


@contextmanager
def _generator_set_to(words: Tensor) -> Generator[None]:
    kept = np.random.get_state()
    np.random.set_state(np.random.RandomState(words.to(torch.int64).tolist()).get_state())
    try:
        yield
    finally:
        np.random.set_state(kept)


def _require_finite(arrays: Arrays, target: str, what: str, error: type[LeakwardError]) -> None:
    broken = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if broken:
        raise error(
            f"{target.partition(':')[2]} filter: expected {what} to be finite, got others in {broken[0]!r}; "
            "lower the noise or the learning rate"
        )
