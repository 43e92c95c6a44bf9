"""Pure maths on a message seen as one vector; differentiable, and finite where everything is zero."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leakward.federated import Evidence
from leakward.types import Tensors


def squared_norm(tensors: Tensors) -> Float[Tensor, ""]:
    """Return the squared l2 norm of all tensors taken together."""
    return torch.stack([value.square().sum() for value in tensors.values()]).sum()


def clip(tensors: Tensors, max_norm: float) -> Tensors:
    """Scale all tensors by ``min(1, max_norm / ||.||)``, the norm being taken over all of them.

    Example:
        >>> clip({"a": torch.tensor([3.0, 4.0])}, max_norm=1.0)
        {'a': tensor([0.6000, 0.8000])}
    """
    square = squared_norm(tensors)
    too_long = square > max_norm**2
    factor = torch.where(too_long, max_norm * torch.where(too_long, square, 1.0).rsqrt(), 1.0)
    return {name: factor * value for name, value in tensors.items()}


def largest(size: Float[Tensor, "*shape"], ratio: float) -> Bool[Tensor, "*shape"]:
    """Return which entries reach the quantile ``ratio`` in [0, 1).

    Of n entries the ceil(ratio (n - 1)) smallest do not; those equal to the quantile do, so that at least one does.
    """
    smaller = math.ceil(ratio * (size.numel() - 1))
    return size >= size.flatten().kthvalue(smaller + 1).values  # torch.quantile stops at 2^24 entries


def straight_through(value: Float[Tensor, "*shape"], source: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``value``, with the derivative of ``source`` (Bengio et al. 2013, arXiv:1308.3432)."""
    return value.detach() + (source - source.detach())


def trust_nonzero(message: Tensors) -> Evidence:
    """Take a message as it is, and trust the entries that were sent: those that are not zero."""
    return Evidence(message, {name: (value != 0).to(value.dtype) for name, value in message.items()})
