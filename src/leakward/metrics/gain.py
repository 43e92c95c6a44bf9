"""Gain over the negative control: what the update adds to a guess that needs no update.

The guess is the mean of public images of the same kind. A gain of zero or less means that the reconstruction tells
no more about the image than that mean does.
"""

from jaxtyping import Float
from torch import Tensor

from leakward.metrics.metric import Metric
from leakward.metrics.peak_signal_to_noise import CAP, psnr
from leakward.metrics.structural_similarity import ssim

PSNR_GAIN = Metric(
    name="psnr_gain",
    title="PSNR gain",
    unit="dB",
    low=-CAP,
    high=CAP,
    leaks_more="higher",
    description="PSNR of the reconstruction minus PSNR of the public mean image, which needs no attack.",
)

SSIM_GAIN = Metric(
    name="ssim_gain",
    title="SSIM gain",
    unit="",
    low=-2.0,
    high=2.0,
    leaks_more="higher",
    description="SSIM of the reconstruction minus SSIM of the public mean image, which needs no attack.",
)


def psnr_gain(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], mean_image: Float[Tensor, "c h w"]
) -> Float[Tensor, " b"]:
    """Return the PSNR gained over ``mean_image`` in dB, in [-100, 100]; inputs in [0, 1]."""
    return psnr(images, reconstructions) - psnr(images, mean_image.expand_as(images))


def ssim_gain(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], mean_image: Float[Tensor, "c h w"]
) -> Float[Tensor, " b"]:
    """Return the SSIM gained over ``mean_image``, in [-2, 2]; inputs in [0, 1], at least 11 x 11."""
    return ssim(images, reconstructions) - ssim(images, mean_image.expand_as(images))
