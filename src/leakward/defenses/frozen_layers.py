"""Layers that are not trained: fine-tuning of a part of the network (Yosinski et al. 2014, arXiv:1411.1792).

    g'_l = 0 at every local step for the chosen layers l,   g'_l = g_l for the others

| symbol | fields |
|---|---|
| l | ``first``, ``last``, ``named`` |

An attacker who knows of it replays it, and compares what was trained.

What differs from freezing in a framework: gradients are computed and thrown away. Weight decay moves weights without a
gradient, and is refused.
"""

from dataclasses import dataclass

import torch

from leakward.defenses.layers import choose, rules
from leakward.errors import DefenseError
from leakward.federated import Defense, Evidence, LocalTraining
from leakward.federated.defense import SINGLE_GRADIENT, Step
from leakward.fields import check
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class FrozenLayers(Defense):
    """Leave some layers as they are.

    Attributes:
        first: So many layers from the input.
        last: So many layers from the output.
        named: Layers, modules or parameters besides.
    """

    first: int = 1
    last: int = 0
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self, *rules(self.first, self.last, self.named))

    def on_recipe(self, recipe: LocalTraining) -> LocalTraining:
        """Refuse weight decay."""
        if recipe.share == "update" and recipe.weight_decay:
            raise DefenseError(
                f"FrozenLayers: expected no weight decay, which moves frozen weights, got {recipe.weight_decay}; "
                "set weight_decay = 0"
            )
        return recipe

    def on_gradient(self, task: Task, parameters: Tensors, step: Step, gradient: Tensors, tape: Tape) -> Tensors:
        """Throw the gradients of frozen layers away."""
        del task, parameters, step, tape
        frozen = choose(self, gradient, self.first, self.last, self.named)
        return {n: torch.zeros_like(value) if n in frozen else value for n, value in gradient.items()}

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust what was trained."""
        del images, recipe
        frozen = choose(self, message, self.first, self.last, self.named)
        return Evidence(message, {n: torch.full_like(value, n not in frozen) for n, value in message.items()})
