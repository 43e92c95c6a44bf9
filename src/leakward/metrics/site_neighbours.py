"""k-IIP: how many of the images nearest to a reconstruction, by what a trained network sees in them, are the site's.

Jiang, Ma and Yang 2025 (arXiv:2506.15711), after the image identifiability precision of Yin et al. 2021
(arXiv:2104.07586). Among the images of all clients and public ones,

    k-IIP = | {i of the site: cos(f(R), f(x_i)) >= the k-th largest} |

with f the input of a trained network's last layer; ties at place k all count. Their mean over the reconstructions of a
batch is the number of hits over the size of the batch. By chance it is k times the site's share of the images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from leakward.metrics.metric import Metric

TIE = 1e-6
"""Cosines closer than this are equal."""
PLACES = (1, 3, 5)


def _metric(k: int) -> Metric:
    return Metric(
        name=f"k_iip_{k}",
        title=f"k-IIP, k = {k}",
        unit="images",
        low=0.0,
        high=float("inf"),
        leaks_more="higher",
        description=f"How many of the {k} nearest of all clients' and public images, by deep features, are the site's.",
    )


K_IIP_1, K_IIP_3, K_IIP_5 = map(_metric, PLACES)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Images among which those nearest to a reconstruction are looked for.

    Attributes:
        embed: Returns the features (b d) of images (b c h w) in [0, 1].
        features: Of all known images.
        own: Whether an image is the site's.
    """

    embed: Callable[[Tensor], Tensor]
    features: Float[Tensor, "n d"]
    own: Bool[Tensor, " n"]


def k_iip(reconstructions: Float[Tensor, "b c h w"], known: Neighbours, k: int) -> Float[Tensor, " b"]:
    """Return how many of the ``k`` nearest known images are the site's; ``k`` is from 1 to the number of all known."""
    with torch.no_grad():
        found = F.normalize(known.embed(reconstructions).double()).to(known.features.device)
    cosine = found @ F.normalize(known.features.double()).T
    least = cosine.topk(k, dim=1).values[:, -1:]
    return ((cosine >= least - TIE) & known.own).sum(1).double()
