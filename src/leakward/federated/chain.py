"""Several defences as one."""

from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import torch

from leakward.data.dataset import Dataset
from leakward.errors import DefenseError
from leakward.federated.defense import Defense, Evidence, Guarantee, Objective, Step
from leakward.federated.recipe import LocalTraining
from leakward.federated.reply import Reply
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class Chain(Defense):
    """Apply ``parts`` one after the other, in the order given, at every hook.

    Attributes:
        parts: At most one may work on per-image gradients, and at most one may keep private helpers.
    """

    parts: tuple[Defense, ...]

    def __post_init__(self) -> None:
        if sum(part.per_example for part in self.parts) > 1:
            raise DefenseError("Chain: expected at most one defence on per-image gradients, got several; keep one")
        if sum(part.keeps_private for part in self.parts) > 1:
            raise DefenseError("Chain: expected at most one defence with private helpers, got several; keep one")
        if self.per_example and self.compares_images:
            raise DefenseError(
                "Chain: expected no defence that compares images beside one on per-image gradients, got both; keep one"
            )

    @property
    def per_example(self) -> bool:
        """Return whether some part works on per-image gradients."""
        return any(part.per_example for part in self.parts)

    @property
    def step_images(self) -> int:
        """Return the most that some part has to have."""
        return max((part.step_images for part in self.parts), default=1)

    @property
    def keeps_private(self) -> bool:
        """Return whether some part keeps helpers."""
        return any(part.keeps_private for part in self.parts)

    @property
    def mixes_images(self) -> bool:
        """Return whether some part mixes images."""
        return any(part.mixes_images for part in self.parts)

    @property
    def compares_images(self) -> bool:
        """Return whether some part compares images."""
        return any(part.compares_images for part in self.parts)

    @property
    def fits_task(self) -> bool:
        """Return whether some part's task needs fitting."""
        return any(part.fits_task for part in self.parts)

    @property
    def carries_over(self) -> bool:
        """Return whether some part does."""
        return any(part.carries_over for part in self.parts)

    @property
    def poisson(self) -> bool:
        """Return whether some part asks for it, and none voids what it proves."""
        return not self.mixes_images and any(part.poisson for part in self.parts)

    @property
    def jumps(self) -> bool:
        """Return whether some part does."""
        return any(part.jumps for part in self.parts)

    def install(self, task: Task, state: Tensors, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Let every part change the network."""
        return reduce(lambda made, part: part.install(*made, rng), self.parts, (task, state))

    def files(self) -> tuple[Path, ...]:
        """Return the files of all parts."""
        return tuple(path for part in self.parts for path in part.files())

    def prepare(self, task: Task, data: Dataset, rng: torch.Generator) -> "Chain":
        """Prepare every part on the task that the parts before it have made."""
        prepared: list[Defense] = []
        for part in self.parts:
            prepared.append(part.prepare(task, data, rng))
            task = prepared[-1].on_task(task)
        return Chain(tuple(prepared))

    def on_task(self, task: Task) -> Task:
        """Let every part change the task."""
        return reduce(lambda value, part: part.on_task(value), self.parts, task)

    def on_recipe(self, recipe: LocalTraining) -> LocalTraining:
        """Let every part change the recipe."""
        return reduce(lambda value, part: part.on_recipe(value), self.parts, recipe)

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        """Start the helpers of the one part that keeps some."""
        kept = [helpers for part in self.parts if (helpers := part.start_private(task, state, tape))]
        return kept[0] if kept else {}

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Let every part change the data, and the one that keeps helpers move them."""
        return reduce(lambda value, part: part.on_step(task, parameters, value, tape), self.parts, step)

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Let every part change the loss."""
        return reduce(lambda value, part: part.on_objective(task, value), self.parts, objective)

    def on_example_gradients(self, gradients: Tensors, images: float, tape: Tape) -> Tensors:
        """Hand the per-image gradients to the part that asked for them."""
        part = next(part for part in self.parts if part.per_example)
        return part.on_example_gradients(gradients, images, tape)

    def on_gradient(self, task: Task, parameters: Tensors, step: Step, gradient: Tensors, tape: Tape) -> Tensors:
        """Let every part change the step's gradient."""
        return reduce(lambda value, part: part.on_gradient(task, parameters, step, value, tape), self.parts, gradient)

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Let every part change what is sent."""
        return reduce(lambda value, part: part.on_reply(*value, tape), self.parts, (reply, private))

    def on_aggregate(self, mean: Tensors, tape: Tape) -> Tensors:
        """Let every part change the mean."""
        return reduce(lambda value, part: part.on_aggregate(value, tape), self.parts, mean)

    def guarantee(self, sampling_rate: float, rounds: int, delta: float, steps: int = 1) -> Guarantee | None:
        """Return the smallest epsilon that one part alone proves, none before it carrying images over."""
        if self.mixes_images:
            return None
        alone = (
            part.guarantee(sampling_rate, rounds, delta, steps)
            for place, part in enumerate(self.parts)
            if not any(before.carries_over for before in self.parts[:place])
        )
        return min((g for g in alone if g), key=lambda g: g.epsilon, default=None)

    def public(self) -> Defense:
        """Leave out of every part what has to stay with the client."""
        return Chain(tuple(part.public() for part in self.parts))

    def replay(self) -> Defense:
        """Replay what is to be replayed of every part."""
        return Chain(tuple(part.replay() for part in self.parts))

    def interpret(self, seen: Reply, clients: int = 1) -> Evidence:
        """Undo the parts in reverse order; trust is the product of theirs."""
        found = super().interpret(seen, clients)
        for part in reversed(self.parts):
            inner = part.interpret(replace(seen, message=found.message), clients)
            found = Evidence(inner.message, {n: found.weight[n] * inner.weight[n] for n in seen.message})
        return found


def parts_of(defense: Defense) -> tuple[Defense, ...]:
    """Return the defences of which ``defense`` consists, chains of chains laid out flat."""
    if isinstance(defense, Chain):
        return tuple(inner for part in defense.parts for inner in parts_of(part))
    return (defense,)
