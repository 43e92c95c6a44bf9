"""Structural similarity, Wang et al. 2004 ("Image quality assessment: from error visibility to structural similarity").

    SSIM(x, y) = (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))

with local means m, variances s^2 and covariance s_xy under an 11x11 Gaussian window of sigma 1.5, C1 = 0.01^2,
C2 = 0.03^2 for a data range of 1, averaged over the positions where the window lies wholly inside the image and
then over channels. Equals scikit-image's ``structural_similarity`` with ``gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=1``. TorchMetrics averages over padded borders as well and differs a lot
on small images.

The window is applied as two banded matrix products, several times faster on a CPU than a convolution in doubles.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics.checks import checked_images, checked_pair
from leakward.metrics.metric import Metric

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2
BLOCK = 2**20  # pixels compared at once: 8 MB a tensor, fast on a CPU and small beside the gallery

SSIM = Metric(
    name="ssim",
    title="SSIM",
    unit="",
    low=-1.0,
    high=1.0,
    leaks_more="higher",
    description="Structural similarity (Wang 2004) over the valid region; 1 is a perfect copy.",
)


@dataclass(frozen=True, eq=False)
class Moments:
    """Images with their local means and variances, computed once and compared with many.

    Attributes:
        images: In [0, 1], double precision.
        mean: Local means over the valid region.
        variance: Local variances over the valid region.
    """

    images: Float[Tensor, "n c h w"]
    mean: Float[Tensor, "n c y x"]
    variance: Float[Tensor, "n c y x"]

    def rows(self, start: int, stop: int) -> "Moments":
        """Return images ``start .. stop - 1``."""
        return Moments(self.images[start:stop], self.mean[start:stop], self.variance[start:stop])


def moments(images: Float[Tensor, "n c h w"]) -> Moments:
    """Return ``images`` (in [0, 1]) with their local moments.

    Raises:
        LeakwardError: If a side is shorter than the window, or a pixel is not a number in [0, 1].
    """
    if min(images.shape[-2:]) < WINDOW:
        height, width = images.shape[-2:]
        raise LeakwardError(
            f"SSIM: expected images of at least {WINDOW} x {WINDOW} pixels, got {height} x {width}; use larger images"
        )
    exact = checked_images(images, "images")
    mean = _blur(exact)
    return Moments(exact, mean, _blur(exact.square()) - mean.square())


def ssim(images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the structural similarity of each pair, in [-1, 1].

    Args:
        images: The private images, in [0, 1], at least 11 x 11.
        reconstructions: One per image, in [0, 1].

    Raises:
        LeakwardError: If shapes differ, a side is shorter than 11, or a pixel is not a number in [0, 1].
    """
    truth, guess = checked_pair(images, reconstructions)
    return _compare(moments(truth), moments(guess))


def ssim_within(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], region: Float[Tensor, "b h w"]
) -> Float[Tensor, " b"]:
    """Return the structural similarity of each pair in ``region``, in [-1, 1].

    Args:
        images: The private images, in [0, 1], at least 11 x 11.
        reconstructions: One per image, in [0, 1].
        region: 1 inside, 0 outside; each window counts by how much of it, as its Gaussian weighs it, is inside.

    Raises:
        LeakwardError: If shapes differ, a side is shorter than 11, or a pixel is not a number in [0, 1].
    """
    truth, guess = checked_pair(images, reconstructions)
    share = _blur(region.to(truth)[:, None])
    local = _local(moments(truth), moments(guess)).mean(1, keepdim=True)
    return (local * share).sum((1, 2, 3)) / share.sum((1, 2, 3))


def ssim_matrix(reconstructions: Float[Tensor, "b c h w"], gallery: Moments) -> Float[Tensor, "b n"]:
    """Return the structural similarity of every reconstruction with every gallery image, in [-1, 1].

    Args:
        reconstructions: In [0, 1].
        gallery: ``moments`` of ``n`` images of the same size.

    Raises:
        LeakwardError: If the sizes differ, a side is shorter than 11, or a pixel is not a number in [0, 1].
    """
    if reconstructions.shape[1:] != gallery.images.shape[1:]:
        shapes = f"{tuple(reconstructions.shape[1:])} against {tuple(gallery.images.shape[1:])}"
        raise LeakwardError(f"SSIM: expected reconstructions of the gallery's image shape, got {shapes}")
    guesses = moments(reconstructions.to(gallery.images.device))
    step = max(1, BLOCK // gallery.images[0].numel())
    blocks = [gallery.rows(start, start + step) for start in range(0, len(gallery.images), step)]
    singles = [guesses.rows(i, i + 1) for i in range(len(guesses.images))]
    return torch.stack([torch.cat([_compare(single, block) for block in blocks]) for single in singles])


def _compare(left: Moments, right: Moments) -> Float[Tensor, " n"]:
    """Return the mean similarity of each pair; a single image on one side is compared with all of the other."""
    return _local(left, right).mean(dim=(1, 2, 3))


def _local(left: Moments, right: Moments) -> Float[Tensor, "n c y x"]:
    """Return the similarity of each pair at every position of the window."""
    product = left.mean * right.mean
    covariance = _blur(left.images * right.images) - product
    luminance = (2 * product + C1) / (left.mean.square() + right.mean.square() + C1)
    structure = (2 * covariance + C2) / (left.variance + right.variance + C2)
    return luminance * structure


def _blur(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c y x"]:
    """Return Gaussian local means where the window lies wholly inside."""
    height, width = images.shape[-2:]
    return _band(height, images) @ images @ _band(width, images).T


def _band(size: int, like: Tensor) -> Float[Tensor, "valid size"]:
    """Return the matrix whose row i weighs pixels i .. i + 10, in the type and on the device of ``like``."""
    row, column = torch.arange(size - WINDOW + 1)[:, None], torch.arange(size)
    offset = (column - row - WINDOW // 2).to(like)
    weights = torch.exp(-0.5 * (offset / SIGMA).square()) * (offset.abs() <= WINDOW // 2)
    return weights / weights.sum(dim=1, keepdim=True)
