"""Distances between a candidate's message and the observed one, over all tensors jointly.

Every function takes messages by name and an optional weight per entry in [0, 1]: how far the attacker trusts that
entry.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.types import Tensors

TINY = 1e-30
RESOLVED = 1e-12
"""The smallest share that single precision tells from 0."""


def squared_distance(found: Tensors, target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return ``sum w (found - target)^2`` (Zhu et al. 2019, arXiv:1906.08935, eq. 4)."""
    return _sum({name: (found[name] - target[name]) ** 2 for name in target}, weight)


def cosine_distance(found: Tensors, target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return ``1 - <found, target> / (|found| |target|)`` (Geiping et al. 2020, arXiv:2003.14053, eq. 4).

    It is 1, with a finite gradient, where either message is zero. Computed as half the squared distance of the two
    directions: 1 minus a number close to 1 would stop at the seventh digit in single precision, where networks whose
    gradients all point one way begin.
    """
    ours, theirs = (_sum({n: side[n] ** 2 for n in target}, weight) for side in (found, target))
    one, other = torch.rsqrt(ours.clamp_min(TINY)), torch.rsqrt(theirs.clamp_min(TINY))
    half = _sum({n: (found[n] * one - target[n] * other) ** 2 for n in target}, weight) / 2
    return torch.where((ours > TINY) & (theirs > TINY), half, 1.0 + 0.0 * half)


def unexplained(found: Tensors, target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return ``log(1 - c^2)``, with c the cosine of the two messages: the logarithm of the share not explained.

    Times N / 2, with N the ``entries``, it is up to a constant the negative log-likelihood of a target that is
    ``found``, scaled, in normal noise, with scale and power of the noise at their most likely values. Where c is
    negative its sign is turned, so that it falls from the opposite of the target to the target. Shares below what
    single precision resolves count as that.
    """
    distance = cosine_distance(found, target, weight)
    share = (distance * (2 - distance)).clamp_min(RESOLVED)
    return torch.where(distance <= 1, share.log(), -share.log())


def entries(target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return the number of entries, each counted by its weight; at least 1."""
    return _sum({name: torch.ones_like(value) for name, value in target.items()}, weight).clamp_min(1)


def _sum(terms: Tensors, weight: Tensors | None) -> Tensor:
    parts = [(term if weight is None else weight[name] * term).sum() for name, term in terms.items()]
    return torch.stack(parts).sum()
