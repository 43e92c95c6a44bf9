"""Relative data leakage value: Hatamizadeh et al. 2023 (arXiv:2202.06924).

    RDLV = (SSIM(T, R) - SSIM(T, P)) / SSIM(T, P)

for the private image T, its reconstruction R, and P, the mean of public images, which needs no attack.
"""

from jaxtyping import Float
from torch import Tensor

from leakward.metrics.metric import Metric
from leakward.metrics.structural_similarity import ssim

SMALLEST = 0.01
"""SSIM of the mean image below which it counts as this: the ratio has a pole at 0."""

RDLV = Metric(
    name="rdlv",
    title="RDLV",
    unit="",
    low=-2 / SMALLEST,
    high=2 / SMALLEST,
    leaks_more="higher",
    description="Relative data leakage value: the gain in SSIM over the public mean image, as a share of that image's.",
)


def rdlv(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], mean_image: Float[Tensor, "c h w"]
) -> Float[Tensor, " b"]:
    """Return the value of each pair, in [-200, 200]; inputs in [0, 1], at least 11 x 11."""
    prior = ssim(images, mean_image.expand_as(images))
    return (ssim(images, reconstructions) - prior) / prior.clamp_min(SMALLEST)
