"""Mean squared error on [0, 1]."""

from jaxtyping import Float
from torch import Tensor

from leakward.metrics.checks import checked_pair
from leakward.metrics.metric import Metric

MSE = Metric(
    name="mse",
    title="MSE",
    unit="",
    low=0.0,
    high=1.0,
    leaks_more="lower",
    description="Mean squared difference of pixel values on [0, 1].",
)


def mse(images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the mean squared difference per image, in [0, 1].

    Args:
        images: The private images, in [0, 1].
        reconstructions: One per image, in [0, 1].

    Raises:
        LeakwardError: If shapes differ or a pixel is not a number in [0, 1].

    Example:
        >>> import torch
        >>> mse(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5))
        tensor([0.2500], dtype=torch.float64)
    """
    truth, guess = checked_pair(images, reconstructions)
    return (truth - guess).square().mean(dim=(1, 2, 3))
