"""Flower's ``LocalDpMod`` (from 1.41): the Gaussian mechanism of Dwork and Roth 2014 (doi:10.1561/0400000042).

With d the change of everything that the client sends,

    w' = w + d min(1, C / ||d||_2) + N(0, s^2 I),      s = S sqrt(2 ln(1.25 / delta)) / epsilon

| symbol | field |
|---|---|
| C | ``clipping_norm`` |
| S | ``sensitivity`` |
| epsilon, delta | ``epsilon``, ``delta`` |

The norm runs over batch statistics and, with ``counters``, over BatchNorm's step counters as well, which are neither
scaled nor noised: one counter that went on by 30 steps makes the whole 30 long, and the rest is shrunk to C / 30.

The mod takes S and C as they come, whether or not they belong together, and counts no rounds. What is proven follows
from s and C alone: whatever a client trains on, two messages before the noise are at most 2 C apart, so that a round
is one call of the Gaussian mechanism with the multiplier s / (2 C), as in ``local-dp``. ``guarantee`` accounts for
that, and does not look at the field ``epsilon``. That one is right for one round, for any two clients' data, if
S >= 2 C and epsilon <= 1, and adds up over rounds.

What is sent is computed by Flower itself, which draws from NumPy's global generator, set from the client's tape.

An attacker who knows of it replays the clipping, and matches the message as it is.
"""

import math
from dataclasses import dataclass

from leakward.defenses.engines import flower
from leakward.defenses.engines.operator import draw_seed, require
from leakward.defenses.engines.replies import through
from leakward.defenses.engines.surrogates import WholeClipping
from leakward.federated import Defense, Guarantee, Reply
from leakward.fields import check, not_negative, positive
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class FlowerLocalDP(Defense):
    """Flower's own mod that shortens the change of the weights to a bound and adds noise to every entry.

    Attributes:
        clipping_norm: Largest l2 norm of the change before the noise.
        sensitivity: By how much the mod assumes that a client's data can move it; the noise grows with it.
        epsilon: That the mod computes its noise for.
        delta: Likewise, in (0, 1).
        counters: Whether the client sends whole numbers too, as ``model.state_dict()`` has them.

    Raises:
        DefenseError: If Flower is not installed.
    """

    clipping_norm: float = 1.0
    sensitivity: float = 1.0
    epsilon: float = 1.0
    delta: float = 1e-5
    counters: bool = True

    def __post_init__(self) -> None:
        check(
            self,
            positive("clipping_norm", self.clipping_norm),
            not_negative("sensitivity", self.sensitivity),
            positive("epsilon", self.epsilon),
            ("delta", self.delta, "a number in (0, 1)", 0 < self.delta < 1),
        )
        require("flwr", "flower", "flower-local-dp")

    @property
    def poisson(self) -> bool:
        """Return that the images of a round are drawn so."""
        return True

    @property
    def std(self) -> float:
        """Return the standard deviation of the noise on each weight."""
        return self.sensitivity * math.sqrt(2 * math.log(1.25 / self.delta)) / self.epsilon

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Send what Flower's mod makes of the client's weights."""
        slope, private = self.replay().on_reply(reply, private, tape)
        settings = {name: getattr(self, name) for name in ("clipping_norm", "sensitivity", "epsilon", "delta")}
        seed = draw_seed(tape, next(iter(reply.message.values())))
        return through(flower.local_dp, settings, reply, slope, counters=self.counters, seed=seed), private

    def guarantee(self, sampling_rate: float, rounds: int, delta: float, steps: int = 1) -> Guarantee | None:
        """Return epsilon for one image by the noise and the bound; None with so little noise that it proves nothing."""
        from leakward.defenses.accounting import message_guarantee  # imports Opacus

        return message_guarantee(self, self.std / (2 * self.clipping_norm), sampling_rate, rounds, delta, steps)

    def replay(self) -> Defense:
        """Replay the clipping."""
        return WholeClipping(self.clipping_norm, self.counters)
