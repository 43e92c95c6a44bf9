"""Defences on what a client of some engine is about to send, and nothing else: its weights, and those it was sent.

An engine's hook sees neither the images nor the training, so that only defences that change the message alone can act
there. What is sent is the same as in the simulator: ``w' = w - m'`` with the message ``m = w - w_trained``. Batch
statistics of BatchNorm and whole numbers leave as they are, as they do there.
"""

import json
from collections.abc import Mapping
from inspect import isfunction
from typing import Any

import torch

from leakward.defenses.recipe_defense import RecipeDefense
from leakward.errors import DefenseError
from leakward.federated import Defense
from leakward.federated.chain import parts_of
from leakward.parts import read_parts
from leakward.tape import Tape
from leakward.types import Tensors

SETTING = "leakward-defense"
"""Where engines keep the table of the defence: a key of their own configuration."""
HONOURED = {"on_update", "files", "guarantee", "public", "replay", "evidence", "interpret"}
"""Methods that a defence may have of its own here: the hook on the message, and what is not of the client."""
CLIENT_HOOKS = tuple(
    name for name, value in vars(Defense).items() if isfunction(value) and name[0] != "_" and name not in HONOURED
)
"""All others, hooks to come included: an engine's hook for messages cannot honour them."""
BATCH_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""How the names of BatchNorm's buffers end."""


def read_defense(table: str | Mapping[str, Any]) -> Defense:
    """Return the defence that a table of a plan, or its JSON, stands for.

    Raises:
        DefenseError: If it is no such table, or the defence needs more than the message.
    """
    try:
        found = json.loads(table) if isinstance(table, str) else table
    except ValueError as error:
        raise DefenseError(f"{SETTING}: expected a defence's table as JSON, got: {error}") from error
    problems: list[str] = []
    made = read_parts("defenses", [found], SETTING, problems)
    if problems:
        raise DefenseError("; ".join(problems))
    require_message_level(made[0])
    return made[0]


def require_message_level(defense: Defense) -> None:
    """Raise ``DefenseError`` if ``defense`` acts anywhere else than on the message."""
    for part in parts_of(defense):
        if hooks := unhonoured(part):
            raise DefenseError(
                f"{type(part).__name__}: expected a defence that changes the message alone, got one that acts at "
                f"{', '.join(hooks)}; {_instead(part)}"
            )


def unhonoured(defense: Defense) -> list[str]:
    """Return the hooks, other than the one on the message, at which a single defence acts."""
    return [hook for hook in CLIENT_HOOKS if getattr(type(defense), hook) is not getattr(Defense, hook)]


def protect(defense: Defense, before: Tensors, after: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
    """Return what a client sends instead of ``after``, and what the defence keeps for its next round.

    Args:
        defense: Checked by ``require_message_level``.
        before: Weights and buffers that the client was sent.
        after: The same after training.
        private: What the defence has kept; empty before the first round.
        tape: Its randomness.

    Raises:
        DefenseError: If the names or shapes differ, there is nothing to defend, or anything is not finite.
    """
    names = [name for name, value in after.items() if is_weight(name, value)]
    _require_comparable(before, after, names)
    start = {name: before[name].to(after[name]) for name in names}
    change = {name: start[name] - after[name] for name in names}
    _require_finite(change, "the client's weights")
    message, private = defense.on_update(change, private, tape)
    _require_finite(message, "the defended message")
    return after | {name: start[name] - value for name, value in message.items()}, private


def secret_tape() -> Tape:
    """Return randomness that nobody can repeat: a seed known to the server would undo the noise."""
    source = torch.Generator()
    source.seed()
    return Tape(source)


def is_weight(name: str, value: torch.Tensor) -> bool:
    """Return whether a tensor is trained, as far as its name and type tell."""
    return value.is_floating_point() and not name.endswith(BATCH_STATISTICS)


def _require_comparable(before: Tensors, after: Tensors, names: list[str]) -> None:
    strange = [name for name in names if name not in before or before[name].shape != after[name].shape]
    if strange or not names:
        got = f"{strange[0]!r}, which is missing or of another shape there" if strange else "none of floating numbers"
        raise DefenseError(
            f"weights to defend: expected those that the client was sent, got {got}; send whole models or their change"
        )


def _require_finite(tensors: Tensors, what: str) -> None:
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise DefenseError(f"{what}: expected finite numbers, got others in {broken[0]!r}; nothing is sent")


def _instead(part: Defense) -> str:
    if type(part).on_reply is not Defense.on_reply:
        return "give the engine its own filter"
    if isinstance(part, RecipeDefense):
        return "agree on the recipe itself with the other sites"
    return "run it inside the training, as `leakward federated` does"
