"""Histogram equalisation of a batch of maps, as Jiang, Ma and Yang's code (arXiv:2506.15711) does it, and as it should.

Grey values v in [0, 255] of all maps together fall into 256 equal bins, whose running count, stretched to [0, 255], is
the new value:   v' = floor(cdf[bin(v)]).

A bin is 255/256 wide, so that ``bin(v) = floor(256 v / 255)``. As published, values are counted in these bins and
looked up by ``floor(v)``, which is the bin below for most of the larger ones.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 256
TOP = 255.0
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue."""


def stretch(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Map the smallest value to 0 and the largest to 255; all to 0 if they are equal."""
    low, span = values.min(), values.max() - values.min()
    flat = span == 0
    return torch.where(flat, 0.0, (values - low) / torch.where(flat, 1.0, span) * TOP)


def luminance(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Return the brightness of colours, or the mean over any other number of channels."""
    if maps.shape[1] != len(LUMINANCE):
        return maps.mean(1)
    return torch.einsum("bchw,c->bhw", maps, maps.new_tensor(LUMINANCE))


def running_count(grey: Float[Tensor, "*any"]) -> Float[Tensor, " 256"]:
    """Return, for every bin, the share of values in it and those below, stretched to [0, 255]."""
    bins = _bin(grey).flatten()
    counts = grey.new_zeros(BINS).scatter_add(0, bins, torch.ones_like(bins, dtype=grey.dtype))
    return stretch(counts.cumsum(0))


def equalise(grey: Float[Tensor, "b h w"], *, own_bin: bool) -> Float[Tensor, "b h w"]:
    """Spread grey values in [0, 255] evenly.

    Args:
        grey: Of a whole batch.
        own_bin: Whether a value is looked up in the bin it was counted in, or as published by its integer part.
    """
    place = _bin(grey) if own_bin else grey.floor().long()
    return running_count(grey).floor()[place]


def _bin(grey: Tensor) -> Tensor:
    return (grey * (BINS / TOP)).floor().clamp(0, BINS - 1).long()
