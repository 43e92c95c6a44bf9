"""The convention of Geiping et al. 2020 (arXiv:2003.14053) and of papers built on its code, for comparison only.

Errors are taken on ``(x - mean) / std``; the peak of channel c is ``1 / std_c``, and the ratio is averaged over
channels in dB:

    PSNR = mean_c 10 log10((1 / std_c)^2 / MSE)

With one std for all channels this is the PSNR on [0, 1] exactly; the MSE is larger by ``1 / std^2``.
"""

from math import log10

from jaxtyping import Float
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics.checks import checked_pair
from leakward.metrics.metric import Metric
from leakward.metrics.peak_signal_to_noise import CAP, decibels

MSE_NORMALISED = Metric(
    name="mse_normalised",
    title="MSE (normalised)",
    unit="",
    low=0.0,
    high=float("inf"),
    leaks_more="lower",
    description="Mean squared difference after (x - mean) / std, as many papers print it; depends on std.",
)

PSNR_NORMALISED = Metric(
    name="psnr_normalised",
    title="PSNR (normalised)",
    unit="dB",
    low=-float("inf"),
    high=CAP,
    leaks_more="higher",
    description="PSNR of normalised images, peak 1/std, mean over channels, as many papers print it; capped at 100 dB.",
)


def mse_normalised(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], std: tuple[float, ...]
) -> Float[Tensor, " b"]:
    """Return the mean squared difference per image after normalisation; the mean cancels.

    Args:
        images: The private images, in [0, 1].
        reconstructions: One per image, in [0, 1].
        std: What the model divides each channel by.

    Raises:
        LeakwardError: If shapes differ, a pixel is not a number in [0, 1], or ``std`` does not fit.
    """
    truth, guess = checked_pair(images, reconstructions)
    if len(std) != images.shape[1] or min(std) <= 0:
        raise LeakwardError(f"std: expected {images.shape[1]} positive numbers, one per channel, got {std}")
    scale = truth.new_tensor(std)[:, None, None]
    return ((truth - guess) / scale).square().mean(dim=(1, 2, 3))


def psnr_normalised(
    images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"], std: tuple[float, ...]
) -> Float[Tensor, " b"]:
    """Return the ratio of the normalised peak to the normalised error in dB, at most 100.

    Args:
        images: The private images, in [0, 1].
        reconstructions: One per image, in [0, 1].
        std: What the model divides each channel by.

    Raises:
        LeakwardError: If shapes differ, a pixel is not a number in [0, 1], or ``std`` does not fit.
    """
    error = mse_normalised(images, reconstructions, std)
    peak = sum(-20 * log10(value) for value in std) / len(std)
    return decibels(error / 10 ** (peak / 10))
