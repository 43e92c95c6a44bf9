"""A variational bottleneck put into an agreed network: Scheliga, Maeder and Seeland 2022 and 2023.

    mu, rho = E(h),   h' = D(z),   z = mu + softplus(rho) e

The layer itself takes z = mu, as at inference. Whoever trains with it draws e, and so changes what E returns
(``leakward.defenses.sampling``).
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leakward.errors import ModelError
from leakward.models.around import AGREED, Plain, build_agreed
from leakward.models.hooks import hooked

BOTTLENECK, ENCODER = "bottleneck", "statistics"
"""Names of the layer in the network, and of E in the layer."""
LEAST = 8
"""Channels of the narrowest convolutional code that is not asked for."""


class Bottleneck(nn.Module):
    """Encode a representation as mean and spread of a code, and decode the mean."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.statistics = encoder
        self.decoder = decoder

    def forward(self, h: Float[Tensor, "b d *space"]) -> Float[Tensor, "b d *space"]:
        """Return what the mean of the code is decoded to."""
        mean, _ = self.statistics(h).chunk(2, dim=1)
        return self.decoder(mean)


def dense(input_shape: tuple[int, int, int], num_classes: int, *, place: str, size: int, **agreed: Plain) -> nn.Module:
    """Build the agreed network with a dense bottleneck before a linear layer.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
        place: Name of the linear layer.
        size: Of the code.
        agreed: As ``around`` puts it.
    """
    model = build_agreed(input_shape, num_classes, agreed)
    layer = model.get_submodule(place)
    assert isinstance(layer, nn.Linear)
    features = layer.in_features
    bottleneck = Bottleneck(nn.Linear(features, 2 * size), nn.Linear(size, features))
    return _with(model, place, OrderedDict([(BOTTLENECK, bottleneck), (AGREED, layer)]))


def convolutional(
    input_shape: tuple[int, int, int], num_classes: int, *, place: str, size: int, kernel: int, **agreed: Plain
) -> nn.Module:
    """Build the agreed network with a convolutional bottleneck behind a layer that returns maps.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
        place: Name of the layer.
        size: Channels of the code; 0 means half as many as the maps have, and at least ``LEAST``.
        kernel: Height and width of the filters, odd.
        agreed: As ``around`` puts it.

    Raises:
        ModelError: If the layer returns no maps.
    """
    model = build_agreed(input_shape, num_classes, agreed)
    channels = _channels(model, place, input_shape)
    size = size or max(channels // 2, LEAST)
    encoder = nn.Conv2d(channels, 2 * size, kernel, padding=kernel // 2)
    decoder = nn.Conv2d(size, channels, kernel, padding=kernel // 2)
    layer = model.get_submodule(place)
    return _with(model, place, OrderedDict([(AGREED, layer), (BOTTLENECK, Bottleneck(encoder, decoder))]))


def name_inside(name: str, place: str) -> str:
    """Return what a tensor of the agreed network is called in one with a bottleneck at ``place``."""
    return f"{place}.{AGREED}.{name.removeprefix(f'{place}.')}" if name.startswith(f"{place}.") else name


def _with(model: nn.Module, place: str, layers: OrderedDict[str, nn.Module]) -> nn.Module:
    parent, _, child = place.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Sequential(layers))
    return model


def _channels(model: nn.Module, place: str, input_shape: tuple[int, int, int]) -> int:
    shapes: list[torch.Size] = []
    with hooked(model.eval(), {place: lambda _, output: shapes.append(output.shape)}), torch.no_grad():
        model(torch.zeros(1, *input_shape))
    if not shapes or len(shapes[-1]) != 4:
        found = tuple(shapes[-1][1:]) if shapes else "nothing"
        raise ModelError(f"layer {place!r}: expected it to return maps (c, h, w), got {found}; name another layer")
    return shapes[-1][1]
