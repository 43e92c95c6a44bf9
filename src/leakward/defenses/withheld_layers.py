"""Layers that are trained and not sent: Arivazhagan et al. 2019, "Federated learning with personalization layers".

    g'_l = 0 for the chosen layers l,   g'_l = g_l for the others       (arXiv:1912.00818)

| symbol | fields |
|---|---|
| l | ``first``, ``last``, ``named`` |

A message holds all trained parameters, so that what is withheld is zero in it.

An attacker who knows of it replays the undefended client and compares what was sent.

What differs from the paper: a client's own layers start every round from the model that the server holds, where theirs
go on from the client's last round. To the attacker, who is taken to know the weights of all layers, that is the more
favourable case.
"""

from dataclasses import dataclass

import torch

from leakward.defenses.layers import choose, rules
from leakward.federated import Defense, Evidence, LocalTraining, NoDefense
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class WithheldLayers(Defense):
    """Send nothing of some layers.

    Attributes:
        first: So many layers from the input.
        last: So many layers from the output.
        named: Layers, modules or parameters besides.
    """

    first: int = 0
    last: int = 1
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self, *rules(self.first, self.last, self.named))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Put zeros where nothing is sent."""
        del tape
        withheld = choose(self, message, self.first, self.last, self.named)
        return {n: torch.zeros_like(value) if n in withheld else value for n, value in message.items()}, private

    def replay(self) -> Defense:
        """Replay the undefended client, which trains all layers."""
        return NoDefense()

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust what was sent."""
        del images, recipe
        withheld = choose(self, message, self.first, self.last, self.named)
        return Evidence(message, {n: torch.full_like(value, n not in withheld) for n, value in message.items()})
