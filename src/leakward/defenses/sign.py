"""Signs alone: Bernstein et al. 2018, "signSGD: compressed optimisation for non-convex problems" (arXiv:1802.04434).

    g' = sgn(g)

It has no hyper-parameters: how far a sign carries is up to the learning rate of the server.

An attacker who knows of it replays a smooth sign,

    g' = g / sqrt(g^2 + (c rms(g))^2),

with c = 0.1 and the root mean square over each tensor. Where the signs of a candidate's message agree, it is close to
them, and every entry counts about as much as any other; the gradient as it is, compared with signs, is ruled by its few
large entries. What was sent as zero is trusted like the rest: it was zero.

What differs from the paper: one client, so that no majority votes. The derivative of the sign is taken to be 1
(straight through), so that a replay of the client itself has one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from leakward.defenses.vectors import straight_through
from leakward.federated import Defense
from leakward.tape import Tape
from leakward.types import Tensors

SOFTNESS = 0.1
"""c; of 0.01, 0.1, 0.3 and 1 the one that lets the attacker recover most."""


@dataclass(frozen=True)
class Sign(Defense):
    """Send the sign of every entry."""

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Keep the signs."""
        del tape
        return {name: straight_through(value.sign(), value) for name, value in message.items()}, private

    def replay(self) -> Defense:
        """Replay a sign that can be climbed."""
        return SmoothSign()


@dataclass(frozen=True)
class SmoothSign(Defense):
    """What the attacker replays."""

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Bring every entry close to its sign."""
        del tape
        return {name: smooth_sign(value) for name, value in message.items()}, private


def smooth_sign(value: Tensor) -> Tensor:
    """Return ``value / sqrt(value^2 + (c rms)^2)``; 0, with derivative 0, where all entries are 0."""
    power = value.square() + SOFTNESS**2 * value.square().mean()
    loud = power > 0
    return torch.where(loud, value * torch.where(loud, power, 1.0).rsqrt(), 0.0)
