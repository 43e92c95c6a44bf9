"""Flower's ``fixedclipping_mod`` (from 1.41): the client's part of McMahan et al. 2018 (arXiv:1710.06963).

With d the change of everything that the client sends,

    w' = w + d min(1, C / ||d||_2)

| symbol | field |
|---|---|
| C | ``clipping_norm``, which the server sends along |

The norm runs over batch statistics and, with ``counters``, over BatchNorm's step counters as well, which are not scaled
themselves: one counter that went on by 30 steps makes the whole 30 long, and the rest is shrunk to C / 30.

Flower's server adds noise to the mean (``DifferentialPrivacyClientSideFixedClipping``), which protects against those
who see the model that comes out, not against the server; ``central-dp`` is that. The mod itself hides one number, the
length of the change. What is sent is computed by Flower itself. An attacker who knows of it replays the clipping.
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
class FlowerFixedClipping(Defense):
    """Flower's own mod that shortens the change of the weights to a bound.

    Attributes:
        clipping_norm: Largest l2 norm of the change.
        counters: Whether the client sends whole numbers too, as ``model.state_dict()`` has them.

    Raises:
        DefenseError: If Flower is not installed.
    """

    clipping_norm: float = 1.0
    counters: bool = True

    def __post_init__(self) -> None:
        check(self, positive("clipping_norm", self.clipping_norm))
        require("flwr", "flower", "flower-fixed-clipping")

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Send what Flower's mod makes of the client's weights."""
        slope, private = self.replay().on_reply(reply, private, tape)
        settings = {"clipping_norm": self.clipping_norm}
        return through(flower.fixed_clipping, settings, reply, slope, counters=self.counters), private

    def replay(self) -> Defense:
        """Replay the clipping."""
        return WholeClipping(self.clipping_norm, self.counters)
