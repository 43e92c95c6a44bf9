"""Distances between a candidate's message and the observed one, over all tensors jointly.

Every function takes messages by name and an optional weight per entry in [0, 1]: how far the attacker trusts that
entry.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.types import Tensors

TINY = 1e-30


def squared_distance(found: Tensors, target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return ``sum w (found - target)^2`` (Zhu et al. 2019, arXiv:1906.08935, eq. 4)."""
    return _sum({name: (found[name] - target[name]) ** 2 for name in target}, weight)


def cosine_distance(found: Tensors, target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return ``1 - <found, target> / (|found| |target|)`` (Geiping et al. 2020, arXiv:2003.14053, eq. 4).

    It is 1, with a finite gradient, where either message is zero.
    """
    inner = _sum({name: found[name] * target[name] for name in target}, weight)
    norms = _sum({n: found[n] ** 2 for n in target}, weight) * _sum({n: target[n] ** 2 for n in target}, weight)
    return 1 - inner * torch.rsqrt(norms.clamp_min(TINY))


def _sum(terms: Tensors, weight: Tensors | None) -> Tensor:
    parts = [(term if weight is None else weight[name] * term).sum() for name, term in terms.items()]
    return torch.stack(parts).sum()
