"""Stochastic quantisation: Alistarh et al. 2017, "QSGD: communication-efficient SGD" (arXiv:1610.02132), section 3.1.

    Q(v)_i = ||v||_2 sgn(v_i) k_i / s,   k_i = floor(a_i) + Bernoulli(a_i - floor(a_i)),   a_i = s |v_i| / ||v||_2

| symbol | field |
|---|---|
| s | ``levels`` |

v is one tensor of the message. On average, Q(v) is v, and no entry is off by more than ||v|| / s.

An attacker who knows of it replays the undefended client, which is what Q sends on average, and takes for every entry
the mean of what it may have been: ||v|| / s is the smallest entry that is not zero, so that ||v||, and with it the
spread t = ||v|| / sqrt(n) of the n entries, are known, and

    p(v_i | k_i) ~ (1 - | |v_i| s / ||v|| - k_i |)_+ exp(-sqrt(2) |v_i| / t).

The trust in an entry is the share of its variance t^2 that k_i explains: next to 0 for what a coarse scale rounds to 0,
next to 1 on a fine one.

What differs from the paper: each tensor has a scale of its own, where they also cut tensors into buckets; what the
message costs on the wire is not simulated. The derivative of Q is taken to be 1 (straight through), so that the client
can be replayed with its own draws.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.defenses.vectors import straight_through
from leakward.federated import Defense, Evidence, LocalTraining, NoDefense
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check, whole
from leakward.tape import Tape
from leakward.types import Tensors

GRID = 256
"""Points in the integral over what an entry may have been."""


@dataclass(frozen=True)
class Quantise(Defense):
    """Round every entry at random to a multiple of a fraction of its tensor's norm.

    Attributes:
        levels: Steps from 0 to the norm of the tensor, at least 1; 7 and a sign are four bits.
    """

    levels: int = 7

    def __post_init__(self) -> None:
        check(self, whole("levels", self.levels))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Round up with a probability that makes the result right on average."""
        return {
            name: straight_through(self._rounded(value.detach(), tape), value) for name, value in message.items()
        }, private

    def replay(self) -> Defense:
        """Replay the undefended client, which is what the rounded one sends on average."""
        return NoDefense()

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Take the mean of what may have been rounded, and trust it as far as that is known."""
        del images, recipe
        found = {name: self._known(value) for name, value in message.items()}
        return Evidence({n: mean for n, (mean, _) in found.items()}, {n: trust for n, (_, trust) in found.items()})

    def _rounded(self, value: Tensor, tape: Tape) -> Tensor:
        norm = value.square().sum().sqrt()
        steps = self.levels * value.abs() / torch.where(norm > 0, norm, 1.0)
        up = tape.uniform(tuple(value.shape), value) < steps - steps.floor()
        return value.sign() * norm * (steps.floor() + up) / self.levels

    def _known(self, value: Tensor) -> tuple[Tensor, Tensor]:
        silent = ~value.any()
        unit = torch.where(silent, 1.0, torch.where(value != 0, value.abs(), torch.inf).min())
        mean, trust = posterior(self.levels, self.levels / value.numel() ** 0.5, value)
        level = (value.abs() / unit).round().long().clamp(max=self.levels)
        return value.sign() * unit * mean[level], torch.where(silent, 1.0, trust[level])


def posterior(levels: int, spread: float, like: Tensor) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Return for every level the mean size of what was rounded to it, in units, and the share of variance explained.

    Args:
        levels: The highest.
        spread: Standard deviation of the entries, in units.
        like: For dtype and device.
    """
    level = torch.arange(levels + 1, dtype=like.dtype, device=like.device)[:, None]
    offset = (torch.arange(GRID, dtype=like.dtype, device=like.device) + 0.5) * 2 / GRID - 1
    size = level + offset
    density = ((1 - offset.abs()).log() - 2**0.5 * size / spread).where(size > 0, -torch.inf).softmax(1)
    mean, power = (density * size).sum(1), (density * size**2).sum(1)
    known = torch.where(level[:, 0] > 0, mean**2, 0.0)  # what was rounded to 0 had either sign
    return mean, (1 - (power - known) / spread**2).clamp(0, 1)
