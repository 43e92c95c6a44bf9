"""Noise before aggregation: Wei et al. 2020, "Federated learning with differential privacy" (arXiv:1911.00222).

    g' = g min(1, C / ||g||_2) + N(0, s^2 C^2 I)

| symbol | field |
|---|---|
| C | ``max_norm`` |
| s | ``noise_multiplier`` |

The norm runs over all trained tensors together. The unit of privacy is the whole message of a client: one round is one
call of the Gaussian mechanism, whose sensitivity is C if neighbours differ in whether the client takes part, and 2 C if
all of its images may be others. ``guarantee`` counts local steps on samples of images, not rounds, so that it states no
epsilon.

An attacker who knows of it replays the clipping without noise, and shrinks what the noise explains in each tensor.

What differs from the paper: they clip the weights, here it is their change; they derive the noise from epsilon, here it
is given.
"""

from dataclasses import dataclass

from leakward.defenses.clipping import Clipping
from leakward.defenses.vectors import clip, shrink
from leakward.federated import Defense, Evidence, LocalTraining
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check, not_negative, positive
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class LocalDP(Defense):
    """Shorten the message to a bound and add noise to every entry.

    Attributes:
        max_norm: Largest l2 norm of the message before the noise.
        noise_multiplier: Standard deviation of the noise as a multiple of ``max_norm``; 0 adds none.
    """

    max_norm: float = 1.0
    noise_multiplier: float = 1.0

    def __post_init__(self) -> None:
        check(self, positive("max_norm", self.max_norm), not_negative("noise_multiplier", self.noise_multiplier))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Clip the message and add the noise."""
        std = self.noise_multiplier * self.max_norm
        clipped = clip(message, self.max_norm)
        return {n: value + std * tape.normal(tuple(value.shape), value) for n, value in clipped.items()}, private

    def replay(self) -> Defense:
        """Replay the clipping."""
        return Clipping(self.max_norm)

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Shrink what the known noise explains."""
        del images, recipe
        return shrink(message, (self.noise_multiplier * self.max_norm) ** 2)
