"""The client network of Jiang, Firouzi and Chakrabarty 2025 (arXiv:2503.16542), Table I.

| part | layers |
|---|---|
| encoder | conv w, 2w, 2w, 4w, 4w, 4w; max-pool 3; conv 4w, 4w, 4w; each 3x3, padding 1, followed by ReLU |
| predictor | max-pool 3; linear |

``w`` is ``width``; the paper's is 64. What differs: the padding, which the table leaves out, is 1, the only value for
which the paper's 2,304 classifier inputs come out at 28 and at 32 pixels. The network that theirs is taken from, that
of Geiping et al. (2020, arXiv:2003.14053), has BatchNorm after every convolution, as ``batch_norm`` gives it.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from leakward.models.task import SplitModel

POOL = 3


def convnet(
    input_shape: tuple[int, int, int], num_classes: int, *, width: int = 64, batch_norm: bool = False
) -> SplitModel:
    """Build the network.

    Args:
        input_shape: (c, h, w), at least 9 pixels high and wide.
        num_classes: Number of logits.
        width: Channels of the first layer, at least 1.
        batch_norm: Whether BatchNorm follows every convolution.
    """
    channels, height, breadth = input_shape
    before, after = (channels, width, 2 * width, 2 * width, 4 * width, 4 * width, 4 * width), (4 * width,) * 4
    encoder = nn.Sequential(*_convolutions(before, batch_norm), nn.MaxPool2d(POOL), *_convolutions(after, batch_norm))
    features = 4 * width * (height // POOL // POOL) * (breadth // POOL // POOL)
    return SplitModel(encoder, nn.Sequential(nn.MaxPool2d(POOL), nn.Flatten(), nn.Linear(features, num_classes)))


def _convolutions(channels: Sequence[int], batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
        layers += [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), *norm, nn.ReLU()]
    return layers
