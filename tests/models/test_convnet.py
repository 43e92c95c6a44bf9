"""The facts of Table I in the paper."""

import pytest
import torch
from torch import nn

from leakward.models.convnet import convnet


@pytest.mark.parametrize(("pixels", "latent"), [(28, 9), (32, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_table_one(channels, pixels, latent):
    model = convnet((channels, pixels, pixels), 8)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.Linear)]
    convolutions = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 128, 256, 256, 256, 256, 256, 256]
    assert [m.kernel_size for m in convolutions] == [(3, 3)] * 9
    assert [type(m).__name__ for m in layers] == [
        *["Conv2d"] * 6, "MaxPool2d", *["Conv2d"] * 3, "MaxPool2d", "Linear"
    ]  # fmt: skip
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == 9
    assert (layers[-1].in_features, layers[-1].out_features) == (2304, 8)
    with torch.no_grad():
        assert model.encoder(torch.zeros(1, channels, pixels, pixels)).shape == (1, 256, latent, latent)


def test_width_scales_every_layer():
    convolutions = [m for m in convnet((3, 28, 28), 8, width=4).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [4, 8, 8, 16, 16, 16, 16, 16, 16]


def test_batch_norm_stands_between_convolution_and_relu():
    kinds = [type(m).__name__ for m in convnet((3, 28, 28), 8, width=4, batch_norm=True).encoder]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [*block * 6, "MaxPool2d", *block * 3]
