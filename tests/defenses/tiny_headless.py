"""A network that does not end in a linear layer."""

from torch import nn


def build(input_shape, num_classes):
    return nn.Sequential(nn.Conv2d(input_shape[0], num_classes, input_shape[1]), nn.Flatten())
