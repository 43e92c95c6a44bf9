"""Who holds which images: equal, skewed or given shares for the clients, and images set aside from a split."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from leakward.errors import DataError


def iid(labels: Int[Tensor, " n"], clients: int, rng: torch.Generator) -> list[Int[Tensor, " _"]]:
    """Share the images among ``clients`` at random; shares differ by one image at most.

    Raises:
        DataError: If some client would get none.
    """
    _check(len(labels), clients, 1)
    return list(torch.randperm(len(labels), generator=rng).tensor_split(clients))


def dirichlet(
    labels: Int[Tensor, " n"], clients: int, alpha: float, rng: torch.Generator, min_images: int = 1
) -> list[Int[Tensor, " _"]]:
    """Share the images among ``clients`` with skewed classes (Hsu et al. 2019, arXiv:1909.06335, section 3).

    Each client draws its class proportions q ~ Dir(α p), with p the proportions of ``labels``, and then its images
    by q, without replacement; what hits a class that is used up is drawn again from the others. As in the paper,
    shares have equal sizes (up to one image): α sets how much the classes differ, not the sizes.

    Args:
        labels: Classes of the images to share.
        clients: Number of shares.
        alpha: Concentration: large values give equal proportions, small ones a single class per client.
        rng: Source of all randomness.
        min_images: Refuse shares smaller than this.

    Returns:
        Disjoint indices into ``labels``, one tensor per client, which together cover it.

    Raises:
        DataError: If there are too few images, or ``alpha`` is not positive and finite.
    """
    _check(len(labels), clients, min_images)
    if not (math.isfinite(alpha) and alpha > 0):
        raise DataError(f"expected a positive alpha, got {alpha}; 0.1 is very skewed, 100 nearly equal")
    draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
    order = torch.randperm(len(labels), generator=rng)
    pools = [order[labels[order] == label] for label in labels.unique()]
    left = np.array([len(pool) for pool in pools])
    prior = left / left.sum()
    shares: list[Tensor] = []
    for client in range(clients):
        images = (len(labels) + clients - 1 - client) // clients
        taken = _take(_proportions(alpha * prior, draw), images, left, draw)
        parts = [pool[len(pool) - stock :][:n] for pool, stock, n in zip(pools, left, taken, strict=True)]
        left -= taken
        share = torch.cat(parts)
        shares.append(share[torch.randperm(len(share), generator=rng)])
    return shares


def sized(labels: Int[Tensor, " n"], sizes: Sequence[int], rng: torch.Generator) -> list[Int[Tensor, " _"]]:
    """Give each client as many images as ``sizes`` says, at random, and of every class its share as nearly as can be.

    The images that are left over go to nobody.

    Raises:
        DataError: If there are fewer images than that.
    """
    if min(sizes) < 1 or sum(sizes) > len(labels):
        raise DataError(
            f"expected at least 1 image for each client and {len(labels)} in all, got {list(sizes)}, which are "
            f"{sum(sizes)}; lower the shares"
        )
    order = torch.randperm(len(labels), generator=rng)
    place = torch.zeros(len(labels))
    for label in labels.unique():
        own = (labels[order] == label).nonzero()[:, 0]
        place[own] = (torch.arange(len(own)) + 0.5) / len(own)
    mixed = order[place.argsort(stable=True)]
    return list(mixed[: sum(sizes)].split(list(sizes)))


def carve(
    index: Int[Tensor, " n"], fraction: float, rng: torch.Generator
) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Split ``index`` into what stays and a random ``fraction`` (at least one image) set aside, both sorted.

    Raises:
        DataError: If nothing would stay.
    """
    aside = max(1, round(fraction * len(index)))
    if aside >= len(index):
        raise DataError(f"expected at least 2 images to set {fraction:.0%} aside, got {len(index)}; add images")
    order = torch.randperm(len(index), generator=rng)
    return index[order[aside:].sort().values], index[order[:aside].sort().values]


def _check(images: int, clients: int, min_images: int) -> None:
    if clients < 1 or min_images < 1:
        raise DataError(f"expected at least 1 client and 1 image each, got {clients} and {min_images}; raise them")
    if images < clients * min_images:
        wanted = f"at least {min_images} images for each of {clients} clients"
        raise DataError(f"expected {wanted}, got {images} images in all; use fewer clients or more images")


def _proportions(concentration: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    q = draw.dirichlet(concentration)
    if np.isfinite(q).all():
        return q
    # The limit of α to 0, where the sampler underflows: one class has everything, and p says how often which.
    return draw.multinomial(1, concentration / concentration.sum()).astype(np.float64)


def _take(q: NDArray[np.float64], images: int, left: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Return how many images of each class to take out of ``left``."""
    taken = np.zeros_like(left)
    while taken.sum() < images:
        stock = left - taken
        open_q = np.where(stock > 0, q, 0.0)
        weight = open_q if open_q.sum() > 0 else stock.astype(np.float64)
        wanted = draw.multinomial(images - taken.sum(), weight / weight.sum())
        taken += np.minimum(wanted, stock)
    return taken
