"""Long vectors made short and even, so that a small network can read them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Sketch:
    """A sparse random projection: every entry is added, with a random sign, to one feature.

    It is the count sketch (Charikar, Chen and Farach-Colton 2002) with a permutation for the hash, so that all features
    have equally many entries, give or take one. Vectors that are short enough keep their entries.

    Attributes:
        scale: What every entry is divided by first.
        order: Which entry comes where.
        sign: 1 or -1, in that order.
        features: Length f of the result.
    """

    scale: Float[Tensor, " d"]
    order: Int[Tensor, " d"]
    sign: Float[Tensor, " d"]
    features: int

    def __call__(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n f"]:
        """Return the features of every vector."""
        signed = (vectors / self.scale)[:, self.order] * self.sign
        padded = F.pad(signed, (0, -signed.shape[1] % self.features))
        return padded.unflatten(1, (-1, self.features)).sum(1)


def draw_sketch(vectors: Float[Tensor, "n d"], sizes: Sequence[int], features: int, rng: torch.Generator) -> Sketch:
    """Draw a projection in which all parts of the vectors have entries of equal size.

    Args:
        vectors: Examples; every entry is divided by the root mean square of its part.
        sizes: Lengths of the parts, such as the tensors of a message.
        features: Length of the result, at most.
        rng: For order and signs.
    """
    parts = vectors.split(list(sizes), dim=1)
    scale = torch.cat([part.square().mean().sqrt().expand(part.shape[1]) for part in parts])
    scale = torch.where(scale > 0, scale, 1.0)
    if len(scale) <= features:
        return Sketch(scale, torch.arange(len(scale), device=scale.device), torch.ones_like(scale), len(scale))
    order = torch.randperm(len(scale), generator=rng).to(scale.device)
    sign = 2.0 * torch.randint(2, (len(scale),), generator=rng) - 1
    return Sketch(scale, order, sign.to(scale), features)
