"""What a reconstruction shows of the images that a site trained on; it never leaves the site."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.live.private import PrivateBatch
from leakward.metrics import assign, identified, moments, psnr, rank, ssim


@dataclass(frozen=True)
class Shown:
    """Of a batch, in the best order of the reconstructed images.

    Attributes:
        identified: Share of the images that are nearest to their reconstruction among all that the site handed over.
        ssim: Mean.
        psnr: Mean, in dB.
        images: Of the batch.
        among: All that were handed over, the batch among them.
    """

    identified: float
    ssim: float
    psnr: float
    images: int
    among: int


def shown(reconstructed: Float[Tensor, "b c h w"], private: PrivateBatch) -> Shown:
    """Return what ``reconstructed``, in [0, 1], shows of ``private``.

    Raises:
        LeakwardError: If there are more or fewer images than in the batch, or of another size.
    """
    images = private.batch.images
    if images.shape != reconstructed.shape:
        raise LeakwardError(
            f"expected as many images as were reconstructed, {tuple(reconstructed.shape)}, got {tuple(images.shape)}; "
            "take the private batch of the same number as the capture"
        )
    guess = reconstructed.to(images)[assign(images, reconstructed.to(images))]
    held = torch.cat([images, private.others.images])
    found = identified(rank(guess, moments(held), torch.arange(len(images))))
    measures = found, ssim(images, guess), psnr(images, guess)
    share, similarity, ratio = (float(values.mean()) for values in measures)
    return Shown(share, similarity, ratio, len(images), len(held))
