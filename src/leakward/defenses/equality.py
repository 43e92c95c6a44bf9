"""Equality of defences that hold fitted tensors."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor


def same_fields(left: Any, right: Any) -> bool:
    """Return whether two defences of one class agree in every field, tensors entry by entry."""
    return all(_equal(getattr(left, f.name), getattr(right, f.name)) for f in fields(left))


def _equal(left: object, right: object) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.equal(left, right)
    return left == right if type(left) is type(right) else False
