"""The mean image of several starts: what they agree on is more likely right than what one of them found alone."""

from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

APART = 1e6
"""Added to the squared distance of two images of different classes, so that they are never matched."""


def consensus(images: Float[Tensor, "t b c h w"], labels: Int[Tensor, "t b"], group: int) -> Float[Tensor, "t b c h w"]:
    """Return for every image the mean over its group of the images that stand for the same one.

    Images of one class may change places from start to start, so those of every start are first matched to those of
    the first start of the group, within classes, by the smallest sum of squared distances.

    Args:
        images: Groups side by side.
        labels: Of the images; the same classes in every start of a group.
        group: Starts per group; t is a multiple of it.
    """
    means = images.clone()
    for begin in range(0, len(images), group):
        members = range(begin, begin + group)
        places = [_match(images[begin], labels[begin], images[i], labels[i]) for i in members]
        mean = sum(images[i, place] for i, place in zip(members, places, strict=True)) / group
        for i, place in zip(members, places, strict=True):
            means[i, place] = mean
    return means


def _match(first: Tensor, first_labels: Tensor, other: Tensor, labels: Tensor) -> list[int]:
    """Return the place in ``other`` of every image of ``first``."""
    cost = (first[:, None] - other[None]).square().flatten(2).sum(2)
    cost = cost + APART * (first_labels[:, None] != labels[None])
    return linear_sum_assignment(cost.cpu().numpy())[1].tolist()
