"""LPIPS (Zhang et al. 2018, arXiv:1801.03924), an extra: needs torchvision and the AlexNet weights it downloads once.

The only place that touches torchvision.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from leakward.errors import LeakwardError
from leakward.metrics.checks import checked_pair
from leakward.metrics.metric import Metric

SMALLEST = 64
"""AlexNet's features vanish below this side length; smaller images are enlarged bilinearly."""

LPIPS = Metric(
    name="lpips",
    title="LPIPS",
    unit="",
    low=0.0,
    high=float("inf"),
    leaks_more="lower",
    description="Learned perceptual distance (Zhang 2018, AlexNet); 0 is a perfect copy; trained on photographs.",
)


def lpips(images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the perceptual distance of each pair, 0 or more; grey images count as three equal channels.

    Args:
        images: The private images, in [0, 1], of one or three channels.
        reconstructions: One per image, in [0, 1].

    Raises:
        LeakwardError: If torchvision or the weights are not at hand, or the images are not fit to be compared.
    """
    truth, guess = checked_pair(images, reconstructions)
    if truth.shape[1] not in (1, 3):
        raise LeakwardError(f"LPIPS: expected images of 1 or 3 channels, got {truth.shape[1]}; leave LPIPS out")
    network = _network().to(truth.device)
    pairs = zip(_photograph(truth), _photograph(guess), strict=True)
    with torch.no_grad():
        return torch.stack([network(one[None], other[None]) for one, other in pairs]).double()


def _photograph(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 y x"]:
    """Return images as the network takes them: single precision, three channels, not too small."""
    colour = images.float().expand(-1, 3, -1, -1)
    if min(colour.shape[-2:]) >= SMALLEST:
        return colour
    scale = SMALLEST / min(colour.shape[-2:])
    return functional.interpolate(colour, scale_factor=scale, mode="bilinear").clamp(0, 1)


@cache
def _network() -> torch.nn.Module:
    """Return the distance network; a download fails with OSError, or RuntimeError where its checksum is wrong."""
    try:
        return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    except (ImportError, RuntimeError, OSError) as error:
        raise LeakwardError(
            "LPIPS: expected torchvision and its AlexNet weights, which are not at hand "
            f"({error}); install leakward[lpips] and let it download them once, or leave LPIPS out"
        ) from error
