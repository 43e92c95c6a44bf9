"""Noise before aggregation: Wei et al. 2020, "Federated learning with differential privacy" (arXiv:1911.00222).

    g' = g min(1, C / ||g||_2) + N(0, s^2 C^2 I)

| symbol | field |
|---|---|
| C | ``max_norm`` |
| s | ``noise_multiplier`` |

The norm runs over all trained tensors together. Whatever a client trains on, two messages before the noise are at most
2 C apart: one round is one call of the Gaussian mechanism with the multiplier s / 2, however many local steps it had.

Per image, which is the unit of ``guarantee``, that mechanism works on a Poisson sample (``federated.sampling``): a
round says nothing of an image that is in none of its steps. Per client, where all of its images may be others, every
round counts, which is ``guarantee`` at the rate 1. That a server draws a client only now and then makes neither
smaller, because the server that is guarded against knows whom it drew.

An attacker who knows of it replays the clipping without noise, and matches the message as it is.

What differs from the paper: they clip the weights, here it is their change; they derive the noise from epsilon, here it
is given; their sensitivity is smaller by the number of images, as if trained weights were an average over images.
"""

from dataclasses import dataclass

from leakward.defenses.clipping import Clipping
from leakward.defenses.vectors import clip
from leakward.federated import Defense, Guarantee
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

    @property
    def poisson(self) -> bool:
        """Return that the images of a round are drawn so."""
        return True

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Clip the message and add the noise."""
        std = self.noise_multiplier * self.max_norm
        clipped = clip(message, self.max_norm)
        return {n: value + std * tape.normal(tuple(value.shape), value) for n, value in clipped.items()}, private

    def guarantee(self, sampling_rate: float, rounds: int, delta: float, steps: int = 1) -> Guarantee | None:
        """Return epsilon for one image; None without noise, or with so little that it proves nothing."""
        from leakward.defenses.accounting import message_guarantee  # imports Opacus

        return message_guarantee(self, self.noise_multiplier / 2, sampling_rate, rounds, delta, steps)

    def replay(self) -> Defense:
        """Replay the clipping."""
        return Clipping(self.max_norm)
