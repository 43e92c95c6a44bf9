"""Image files become tensors in [0, 1]."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from leakward.errors import DataError

EIGHT_BIT_GREY = ("1", "L", "LA", "La")
DEEP_GREY = ("I", "F")


def read_square(file: Path, size: int) -> Float[Tensor, "c s s"]:
    """Read an image, one channel if it is grey, and squash it to a square (bicubic, antialiased).

    Raises:
        DataError: If it cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            pixels = _pixels(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{file}: expected an image, got what cannot be decoded ({type(error).__name__}); replace or remove it"
        ) from error
    return F.interpolate(pixels[None], (size, size), mode="bicubic", antialias=True)[0].clamp(0, 1)


def _pixels(image: Image.Image) -> Float[Tensor, "c h w"]:
    """Return one channel if the file has one; deep grey is scaled from its own minimum and maximum to 0 and 1."""
    if image.mode.split(";")[0] in DEEP_GREY:
        values = torch.from_numpy(np.array(image, dtype=np.float64))
        if not values.isfinite().all():
            raise ValueError("not a number")
        low, high = values.min(), values.max()
        return ((values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)).float()[None]
    grey = image.mode in EIGHT_BIT_GREY
    values = torch.from_numpy(np.array(image.convert("L" if grey else "RGB"))).float().div_(255)
    return values[None] if grey else values.permute(2, 0, 1)


def stack(images: list[Tensor]) -> Float[Tensor, "n c s s"]:
    """Stack images of one size; grey ones get three equal channels if any is in colour."""
    channels = max(len(image) for image in images)
    return torch.stack([image.expand(channels, -1, -1) for image in images])


def is_picture(file: Path) -> bool:
    """Say whether the file name ends as that of an image does."""
    return file.suffix.lower() in Image.registered_extensions()
