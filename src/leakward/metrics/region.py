"""Errors inside and outside of a region, such as where a trained network looks.

Jiang, Ma and Yang 2025 (arXiv:2506.15711) measure leakage in a target region. SSIM is the mean of the local
similarities, each weighed by how much of its window lies in the region.
"""

from jaxtyping import Float
from torch import Tensor

from leakward.metrics.checks import checked_pair
from leakward.metrics.metric import Metric
from leakward.metrics.structural_similarity import ssim_within

WHERE = ("inside", "outside")


def _mse(where: str) -> Metric:
    return Metric(
        name=f"mse_{where}",
        title=f"MSE {where}",
        unit="",
        low=0.0,
        high=1.0,
        leaks_more="lower",
        description=f"Mean squared difference of the pixels {where} of the 30 % where the trained network looks.",
    )


def _ssim(where: str) -> Metric:
    return Metric(
        name=f"ssim_{where}",
        title=f"SSIM {where}",
        unit="",
        low=-1.0,
        high=1.0,
        leaks_more="higher",
        description=f"Structural similarity {where} of the 30 % of the pixels where the trained network looks.",
    )


(MSE_INSIDE, MSE_OUTSIDE), (SSIM_INSIDE, SSIM_OUTSIDE) = map(_mse, WHERE), map(_ssim, WHERE)


def by_region(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], region: Float[Tensor, "b h w"]
) -> dict[str, Float[Tensor, " b"]]:
    """Return MSE and SSIM inside and outside of ``region``, which is 1 inside and 0 outside and has pixels of both."""
    truth, guess = checked_pair(images, reconstructions)
    error = (truth - guess).square().mean(1)
    found: dict[str, Tensor] = {}
    for where, inside in zip(WHERE, (region.to(truth), 1 - region.to(truth)), strict=True):
        found[f"mse_{where}"] = (error * inside).sum((1, 2)) / inside.sum((1, 2))
        found[f"ssim_{where}"] = ssim_within(truth, guess, inside)
    return found
