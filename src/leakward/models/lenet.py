"""The LeNet on which gradient inversion began: Zhu, Liu and Han 2019 (arXiv:1906.08935).

Three 5x5 convolutions of 12 channels with padding 2 and strides 2, 2, 1, a sigmoid after each, and one linear layer;
all weights and biases are drawn from U(-0.5, 0.5). Smooth and wide open: the easiest network to invert.
"""

from torch import nn

from leakward.models.task import SplitModel

STRIDES = (2, 2, 1)


def lenet(input_shape: tuple[int, int, int], num_classes: int, *, channels: int = 12) -> SplitModel:
    """Build the network with its U(-0.5, 0.5) initialisation.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
        channels: Feature maps of each convolution.
    """
    inputs, height, width = input_shape
    layers: list[nn.Module] = []
    for stride in STRIDES:
        layers += [nn.Conv2d(inputs, channels, kernel_size=5, padding=2, stride=stride), nn.Sigmoid()]
        inputs, height, width = channels, -(-height // stride), -(-width // stride)
    model = SplitModel(
        nn.Sequential(*layers), nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
    )
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return model
