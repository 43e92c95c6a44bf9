"""Identification: does the reconstruction single out the right image among the site's own?

PSNR and SSIM of medical images are flattered by what all of them share. Whether the right image is nearest among
those the site holds is not: a guess without the update is right once in ``n``.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.metrics.metric import Metric
from leakward.metrics.structural_similarity import Moments, ssim_matrix

TIE = 1e-9
"""Similarities closer than this are equal: rounding must not break a tie between duplicate images."""

RANK = Metric(
    name="rank",
    title="Rank",
    unit="place",
    low=1.0,
    high=float("inf"),
    leaks_more="lower",
    description="Place of the right image among the site's own by SSIM to the reconstruction; 1 is nearest.",
)

IDENTIFIED = Metric(
    name="identified",
    title="Identified",
    unit="yes/no",
    low=0.0,
    high=1.0,
    leaks_more="higher",
    description="Whether the right image is strictly nearest among the site's own by SSIM; chance is 1 in n.",
)


def rank(
    reconstructions: Float[Tensor, "b c h w"], gallery: Moments, gallery_index: Int[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Return the place of the right image, in 1 .. n, when the gallery is sorted by similarity.

    A tie counts against the attacker: a reconstruction that fits two images equally well singles out neither. An
    image that the gallery holds twice is therefore never identified.

    Args:
        reconstructions: In [0, 1], at least 11 x 11.
        gallery: ``moments`` of the site's images, the right ones among them.
        gallery_index: Where the right image of each reconstruction stands in the gallery.

    Raises:
        LeakwardError: If the sizes differ or a pixel is not a number in [0, 1].
    """
    similarity = ssim_matrix(reconstructions, gallery)
    index = gallery_index.to(similarity.device)[:, None]
    at_least_as_near = similarity >= similarity.gather(1, index) - TIE
    return torch.count_nonzero(at_least_as_near, dim=1).double()  # the right image counts itself: the best is 1


def identified(ranks: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return 1 where the right image ranks first, else 0."""
    return (ranks == 1).double()
