"""Layers of a network by place or by name, for defences that treat some unlike the others."""

from collections.abc import Iterable

import torch

from leakward.errors import DefenseError
from leakward.federated import Defense, Evidence, LocalTraining
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check, whole
from leakward.types import Tensors


class ChosenLayers(Defense):
    """A defence that leaves nothing of some layers; the attacker trusts the others.

    Attributes:
        first: So many layers from the input.
        last: So many layers from the output.
        named: Layers, modules or parameters besides.
    """

    first: int
    last: int
    named: tuple[str, ...]

    def __post_init__(self) -> None:
        chosen = self.first or self.last or self.named
        check(
            self,
            whole("first", self.first, 0),
            whole("last", self.last, 0),
            ("named", self.named, "a layer where first and last are 0", bool(chosen)),
        )

    def without_chosen(self, tensors: Tensors) -> Tensors:
        """Return the tensors with zeros in the chosen layers."""
        chosen = choose(self, tensors, self.first, self.last, self.named)
        return {name: torch.zeros_like(value) if name in chosen else value for name, value in tensors.items()}

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust what is not of the chosen layers."""
        del images, recipe
        chosen = choose(self, message, self.first, self.last, self.named)
        return Evidence(message, {n: torch.full_like(value, n not in chosen) for n, value in message.items()})


def choose(owner: object, parameters: Iterable[str], first: int, last: int, named: tuple[str, ...]) -> frozenset[str]:
    """Return which of the ``parameters``, in the model's order, belong to the chosen layers.

    A layer is a module that has parameters of its own, ``encoder.0`` for ``encoder.0.weight``.

    Args:
        owner: The defence, for messages.
        parameters: Names of all trained parameters.
        first: So many layers from the input.
        last: So many layers from the output.
        named: Layers, modules with all that they hold, or single parameters.

    Raises:
        DefenseError: If a name fits no parameter, or all parameters are chosen.
    """
    names = tuple(parameters)
    layers = list(dict.fromkeys(_layer(name) for name in names))
    by_place = {*layers[:first], *layers[len(layers) - min(last, len(layers)) :]}
    unknown = [part for part in named if not any(_within(name, part) for name in names)]
    chosen = frozenset(n for n in names if _layer(n) in by_place or any(_within(n, part) for part in named))
    title = type(owner).__name__
    if unknown:
        raise DefenseError(f"{title}: expected some of the layers {', '.join(layers)}; got {', '.join(unknown)}")
    if len(chosen) == len(names):
        raise DefenseError(f"{title}: expected a layer that is not chosen, got all {len(layers)}; choose fewer")
    return chosen


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _within(parameter: str, part: str) -> bool:
    return parameter == part or parameter.startswith(f"{part}.")
