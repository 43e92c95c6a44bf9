"""The small network on which the shadow defence is compared where ResNet-18 takes too long."""

from torch import nn

from leakward.models import SplitModel

CHANNELS, KERNEL = 12, 5
STRIDES = (2, 2, 1)


def network(input_shape: tuple[int, int, int], num_classes: int) -> SplitModel:
    """Build the LeNet of gradient inversion, with BatchNorm before every sigmoid and PyTorch's initial weights.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
    """
    inputs, height, width = input_shape
    layers: list[nn.Module] = []
    for stride in STRIDES:
        convolution = nn.Conv2d(inputs, CHANNELS, KERNEL, stride, padding=KERNEL // 2)
        layers += [convolution, nn.BatchNorm2d(CHANNELS), nn.Sigmoid()]
        inputs, height, width = CHANNELS, -(-height // stride), -(-width // stride)
    predictor = nn.Sequential(nn.Flatten(), nn.Linear(inputs * height * width, num_classes))
    return SplitModel(nn.Sequential(*layers), predictor)
