"""Flower's ``adaptiveclipping_mod`` (from 1.41): the client's part of Andrew et al. 2021 (arXiv:1905.03871).

With d the change of everything that the client sends,

    w' = w + d min(1, C / ||d||_2),      bit = ||d||_2 > C

| symbol | field |
|---|---|
| C | ``clipping_norm``, which the server sends along, and moves from round to round by the bits |

It is ``flower-fixed-clipping`` with a bit that the server can see from the message itself: whoever was clipped sends a
change of length C. An audit is of the round in which the bound is ``clipping_norm``; the bound is not moved here.

What differs from the paper, in Flower's server: there C <- C exp(-r (b - q)) with b the share of clients *below* the
bound. Flower (1.41) puts in the share of clients that were clipped, so that a bound which is too tight becomes tighter.

What is sent is computed by Flower itself. An attacker who knows of it replays the clipping.
"""

from dataclasses import dataclass

from leakward.defenses.engines import flower
from leakward.defenses.engines.operator import require
from leakward.defenses.engines.replies import through
from leakward.defenses.engines.surrogates import WholeClipping
from leakward.federated import Defense, Reply
from leakward.fields import check, positive
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class FlowerAdaptiveClipping(Defense):
    """Flower's own mod that shortens the change of the weights to the bound of the round.

    Attributes:
        clipping_norm: Largest l2 norm of the change in this round; Flower's server starts from 0.1.
        counters: Whether the client sends whole numbers too, as ``model.state_dict()`` has them.

    Raises:
        DefenseError: If Flower is not installed.
    """

    clipping_norm: float = 0.1
    counters: bool = True

    def __post_init__(self) -> None:
        check(self, positive("clipping_norm", self.clipping_norm))
        require("flwr", "flower", "flower-adaptive-clipping")

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Send what Flower's mod makes of the client's weights."""
        slope, private = self.replay().on_reply(reply, private, tape)
        settings = {"clipping_norm": self.clipping_norm}
        return through(flower.adaptive_clipping, settings, reply, slope, counters=self.counters), private

    def replay(self) -> Defense:
        """Replay the clipping."""
        return WholeClipping(self.clipping_norm, self.counters)
