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

from leakward.defenses.layers import ChosenLayers
from leakward.errors import DefenseError
from leakward.federated import LocalTraining
from leakward.federated.defense import Step
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class FrozenLayers(ChosenLayers):
    """Leave some layers as they are.

    Attributes:
        first: So many layers from the input.
        last: So many layers from the output.
        named: Layers, modules or parameters besides.
    """

    first: int = 1
    last: int = 0
    named: tuple[str, ...] = ()

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
        return self.without_chosen(gradient)
