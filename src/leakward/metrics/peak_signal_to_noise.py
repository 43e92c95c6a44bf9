"""Peak signal-to-noise ratio on [0, 1]."""

from jaxtyping import Float
from torch import Tensor

from leakward.metrics.mean_squared_error import mse
from leakward.metrics.metric import Metric

CAP = 100.0
"""Identical images have an infinite ratio; every value stops at this many dB, an error of one part in 10^5."""

PSNR = Metric(
    name="psnr",
    title="PSNR",
    unit="dB",
    low=0.0,
    high=CAP,
    leaks_more="higher",
    description="Peak signal-to-noise ratio on [0, 1], capped at 100 dB; dark or bland images score high unattacked.",
)


def psnr(images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return ``10 log10(1 / MSE)`` per image in dB, in [0, 100].

    Args:
        images: The private images, in [0, 1].
        reconstructions: One per image, in [0, 1].

    Raises:
        LeakwardError: If shapes differ or a pixel is not a number in [0, 1].
    """
    return decibels(mse(images, reconstructions))


def decibels(error: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return ``-10 log10(error)``, at most ``CAP``."""
    return (-10 * error.log10()).clamp(max=CAP)
