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
    """Return the weighted mean of the cosine distances of the single tensors, in [0, 2].

    A tensor's weight is its factor times the mean trust in its entries, if ``weight`` is given. Without trust in
    anything it is 1.
    """
    shares: list[Tensor] = []
    closeness: list[Tensor] = []
    for name, factor in factors.items():
        trust = None if weight is None else {name: weight[name]}
        shares.append(factor * (torch.ones_like(target[name]) if weight is None else weight[name]).mean())
        closeness.append(1 - cosine_distance({name: found[name]}, {name: target[name]}, trust))
    share = torch.stack(shares)
    return 1 - (share * torch.stack(closeness)).sum() / share.sum().clamp_min(TINY)
