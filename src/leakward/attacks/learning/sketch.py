"""Long vectors made short and even, so that a small network can read them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sketch:
    """A sparse random projection: every entry is added, with a random sign, to one feature.

    It is the count sketch (Charikar, Chen and Farach-Colton 2002) with a permutation for the hash, so that all features
    have equally many entries, give or take one. Vectors that are short enough keep their entries.

    Attributes:
        factor: What every entry is multiplied by first: its sign, by the inverse of its size.
        place: The feature that it is added to.
        features: Length f of the result.
    """

    factor: Float[Tensor, " d"]
    place: Int[Tensor, " d"]
    features: int

    def __call__(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n f"]:
        """Return the features of every vector."""
        sums = torch.zeros(len(vectors), self.features, dtype=vectors.dtype, device=vectors.device)
        return sums.index_add_(1, self.place, vectors * self.factor)


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
        return Sketch(1 / scale, torch.arange(len(scale), device=scale.device), len(scale))
    order = torch.randperm(len(scale), generator=rng)
    sign = 2.0 * torch.randint(2, (len(scale),), generator=rng) - 1
    place, signs = torch.empty_like(order), torch.empty_like(sign)
    place[order], signs[order] = torch.arange(len(scale)) % features, sign
    return Sketch(signs.to(scale) / scale, place.to(scale.device), features)
