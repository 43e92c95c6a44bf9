"""Words shared by every layer.

Shapes use one alphabet throughout: ``t`` trials (victims x restarts), ``n`` images of a data set,
``b`` images of a batch, ``c`` channels, ``h`` height, ``w`` width, ``k`` classes.
Images are in [0, 1]; normalisation is the first layer of the model, so nobody else handles mean and std.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Tensors = dict[str, Tensor]
"""Tensors keyed by name; never by position."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Private images and labels a client trains on.

    Attributes:
        images: In [0, 1].
        labels: Class indices in ``0 .. k-1``.
    """

    images: Float[Tensor, "b c h w"]
    labels: Int[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.images)


def generator(seed: int) -> torch.Generator:
    """Return a CPU generator seeded with ``seed``; the only way randomness enters Leakward.

    Example:
        >>> torch.rand(1, generator=generator(0)) == torch.rand(1, generator=generator(0))
        tensor([True])
    """
    return torch.Generator().manual_seed(seed)
