"""A network with BatchNorm, as a user's own package would provide it."""

from torch import nn


def build(input_shape, num_classes):
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 3, 3, padding=1, stride=2),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(3 * (height // 2) * (width // 2), num_classes),
    )


def frozen(input_shape, num_classes):
    """With a first layer that is not trained, as in transfer learning."""
    model = build(input_shape, num_classes)
    model[0].requires_grad_(False)
    return model


def without_bias(input_shape, num_classes):
    channels, height, width = input_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes, bias=False))
