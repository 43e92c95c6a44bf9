"""A distance between messages in which the first layers, which are next to the image, count most."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.attacks.searching.matching import TINY, cosine_distance
from leakward.types import Tensors


def layer_factors(names: Sequence[str], decay: float) -> dict[str, float]:
    """Return ``exp(-decay l)`` for every tensor of layer l, from 0 (Dimitrov et al. 2022, arXiv:2206.12395, code).

    Args:
        names: Of the tensors, in the order of the network, as ``layer.tensor``.
        decay: At least 0; 0 makes all layers count alike.
    """
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    return {name: math.exp(-decay * layers.index(name.rpartition(".")[0])) for name in names}


def layerwise_distance(
    found: Tensors, target: Tensors, factors: Mapping[str, float], weight: Tensors | None = None
) -> Float[Tensor, ""]:
    """Return the mean of the cosine distances of the single tensors, weighted by their factors, in [0, 2].

    If ``weight`` is given, each counts by the mean trust in its entries, beside that in the tensor trusted most: one
    that is not trusted is no evidence, which leaves more to a prior. Without trust in anything the distance is 0.
    """
    if weight is None:
        weight = {name: torch.ones_like(value) for name, value in target.items()}
    apart = torch.stack([cosine_distance({n: found[n]}, {n: target[n]}, {n: weight[n]}) for n in factors])
    trust = torch.stack([weight[name].mean() for name in factors])
    share = torch.tensor([*factors.values()]).to(trust) * trust / trust.max().clamp_min(TINY)
    return (share * apart).sum() / sum(factors.values())
