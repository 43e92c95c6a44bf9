"""A split network with BatchNorm, as a user's own would be named in a plan."""

from torch import nn

from leakward.models import SplitModel


def build(input_shape, num_classes):
    channels, height, width = input_shape
    return SplitModel(
        nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * height * width, num_classes)),
    )
