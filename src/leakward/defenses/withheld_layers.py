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

from leakward.defenses.layers import ChosenLayers
from leakward.federated import Defense, NoDefense
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class WithheldLayers(ChosenLayers):
    """Send nothing of some layers.

    Attributes:
        first: So many layers from the input.
        last: So many layers from the output.
        named: Layers, modules or parameters besides.
    """

    first: int = 0
    last: int = 1
    named: tuple[str, ...] = ()

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Put zeros where nothing is sent."""
        del tape
        return self.without_chosen(message), private

    def replay(self) -> Defense:
        """Replay the undefended client, which trains all layers."""
        return NoDefense()
