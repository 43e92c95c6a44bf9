"""The client network of Jiang, Firouzi and Chakrabarty 2025 (arXiv:2503.16542), Table I.

| part | layers |
|---|---|
| encoder | conv w, 2w, 2w, 4w, 4w, 4w; max-pool 3; conv 4w, 4w, 4w; each 3x3, padding 1, followed by ReLU |
| predictor | max-pool 3; linear |

``w`` is ``width``; the paper's is 64. What differs: the padding, which the table leaves out, is 1, the only value for
which the paper's 2,304 classifier inputs come out at 28 and at 32 pixels.
"""

from itertools import pairwise

from torch import nn

from leakward.models.task import SplitModel

POOL = 3


def convnet(input_shape: tuple[int, int, int], num_classes: int, *, width: int = 64) -> SplitModel:
    """Build the network.

    Args:
        input_shape: (c, h, w), at least 9 pixels high and wide.
        num_classes: Number of logits.
        width: Channels of the first layer, at least 1.
    """
    channels, height, breadth = input_shape
    encoder = nn.Sequential(
        *_convolutions(channels, width, 2 * width, 2 * width, 4 * width, 4 * width, 4 * width),
        nn.MaxPool2d(POOL),
        *_convolutions(4 * width, 4 * width, 4 * width, 4 * width),
    )
    features = 4 * width * (height // POOL // POOL) * (breadth // POOL // POOL)
    return SplitModel(encoder, nn.Sequential(nn.MaxPool2d(POOL), nn.Flatten(), nn.Linear(features, num_classes)))


def _convolutions(*channels: int) -> list[nn.Module]:
    return [
        layer
        for inputs, outputs in pairwise(channels)
        for layer in (nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.ReLU())
    ]
