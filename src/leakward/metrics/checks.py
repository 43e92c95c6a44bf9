"""What a pair of truth and reconstruction must satisfy before it is measured."""

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.errors import LeakwardError


def checked_images(images: Tensor, name: str) -> Float[Tensor, "b c h w"]:
    """Return ``images`` in double precision.

    Raises:
        LeakwardError: If they are not a batch of finite images in [0, 1]; nothing is clamped in silence.
    """
    if images.ndim != 4 or images.numel() == 0:
        raise LeakwardError(f"{name}: expected a batch (b, c, h, w) with at least one image, got {tuple(images.shape)}")
    if not torch.isfinite(images).all():
        raise LeakwardError(f"{name}: expected finite pixel values, got NaN or infinity; score ok attacks only")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise LeakwardError(f"{name}: expected pixel values in [0, 1], got {low:g} to {high:g}; clamp before scoring")
    return images.double()


def checked_pair(images: Tensor, reconstructions: Tensor) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Return both in double precision on the device of ``images``.

    Raises:
        LeakwardError: If either is not a batch of finite images in [0, 1], or their shapes differ.
    """
    if images.shape != reconstructions.shape:
        raise LeakwardError(
            "reconstructions: expected one per image and of equal shape, "
            f"got {tuple(reconstructions.shape)} for images {tuple(images.shape)}"
        )
    truth = checked_images(images, "images")
    return truth, checked_images(reconstructions.to(images.device), "reconstructions")
