"""The LeNet on which gradient inversion began: Zhu, Liu and Han 2019 (arXiv:1906.08935).

Three 5x5 convolutions of 12 channels with padding 2 and strides 2, 2, 1, a sigmoid after each, and one linear layer;
all weights and biases are drawn from U(-0.5, 0.5). Smooth and wide open: the easiest network to invert. Later attacks
were shown on relatives of it, with more convolutions or smaller kernels.
"""

from torch import nn

from leakward.errors import ModelError
from leakward.models.task import SplitModel

PADDING = 2
DEEPEST = 100
"""Convolutions, which the sigmoids leave nothing of long before."""


def lenet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    channels: int = 12,
    convolutions: int = 3,
    halving: int = 2,
    kernel: int = 5,
) -> SplitModel:
    """Build the network with its U(-0.5, 0.5) initialisation.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
        channels: Feature maps of each convolution.
        convolutions: How many, from 1 to ``DEEPEST``.
        halving: How many of them, the first, have stride 2; the others have stride 1.
        kernel: Side of the convolutions' kernels, at least 1.

    Raises:
        ModelError: If a number is too small or too large, or the images are smaller than a kernel.
    """
    if min(channels, convolutions, kernel) < 1 or not 0 <= halving <= convolutions <= DEEPEST:
        raise ModelError(
            "lenet: expected channels, convolutions and kernel of at least 1, "
            f"at most {DEEPEST} convolutions, and halving from 0 to convolutions, got "
            f"{channels}, {convolutions}, {kernel} and {halving}; correct them"
        )
    inputs, height, width = input_shape
    layers: list[nn.Module] = []
    for stride in [2] * halving + [1] * (convolutions - halving):
        layers += [nn.Conv2d(inputs, channels, kernel_size=kernel, padding=PADDING, stride=stride), nn.Sigmoid()]
        inputs, height, width = channels, _side(height, kernel, stride), _side(width, kernel, stride)
    model = SplitModel(
        nn.Sequential(*layers), nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
    )
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def _side(side: int, kernel: int, stride: int) -> int:
    """Return the height or width after a convolution."""
    if side + 2 * PADDING < kernel:
        raise ModelError(
            f"lenet: expected a kernel of at most {side + 2 * PADDING}, the side of the padded maps, got {kernel}; "
            "choose a smaller one, or larger images"
        )
    return (side + 2 * PADDING - kernel) // stride + 1
