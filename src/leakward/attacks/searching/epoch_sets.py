"""Several sets of images that are the same images in unknown orders: the epochs of a client that shuffles."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

FAR = 1e6
"""More than any squared distance between two images in [0, 1]: images of different labels are never matched."""


def mean_disagreement(sets: Float[Tensor, "e b c h w"]) -> Float[Tensor, ""]:
    """Return ``(1 / e^2) sum_ij mean (g(sets_i) - g(sets_j))^2`` with the mean over a set's images as ``g``.

    It is 0 where all sets hold the same images in any order (Dimitrov et al. 2022, arXiv:2206.12395, eq. 4).
    """
    return 2 * sets.mean(1).var(0, correction=0).mean()


def assemble(sets: Float[Tensor, "e b c h w"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """Return the mean over epochs of images matched to those of the first, only ever to one of the same label.

    Args:
        sets: In the order of ``labels``, up to that of images of equal labels.
        labels: Of every set.
    """
    first = sets[0].flatten(1)
    apart = FAR * (labels[:, None] != labels[None, :])
    matched = [sets[0]]
    for images in sets[1:]:
        cost = torch.cdist(first, images.flatten(1)).square() + apart
        matched.append(images[torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=images.device)])
    return torch.stack(matched).mean(0)
