"""The fifty transforms of ATS (``ats``), on images in [0, 1], in the order in which its policies number them.

Each is one of AutoAugment's (Cubuk et al. 2019, arXiv:1805.09501) at one of ten levels, with the meaning Pillow gives
it; where a direction is open, it is drawn for every image. ``posterize`` and ``equalize`` have no useful derivative:
theirs is taken as that of the identity, so that nobody seems protected by a gradient of 0.

What differs from Pillow: pixels are numbers, not bytes, and nothing is rounded but by ``posterize`` and ``equalize``;
what is moved is interpolated linearly, where Pillow takes the nearest pixel or, for shears, fits cubics.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leakward.tape import Tape

NUMBERED: tuple[tuple[str, int], ...] = (
    ("invert", 7), ("contrast", 6), ("rotate", 2), ("translate_x", 9), ("sharpness", 1), ("sharpness", 3),
    ("shear_y", 2), ("translate_y", 2), ("autocontrast", 5), ("equalize", 2), ("shear_y", 5), ("posterize", 5),
    ("color", 3), ("brightness", 5), ("sharpness", 9), ("brightness", 9), ("equalize", 5), ("equalize", 1),
    ("contrast", 7), ("sharpness", 5), ("color", 5), ("translate_x", 5), ("equalize", 7), ("autocontrast", 8),
    ("translate_y", 3), ("sharpness", 6), ("brightness", 6), ("color", 8), ("solarize", 0), ("invert", 0),
    ("equalize", 0), ("autocontrast", 0), ("equalize", 8), ("equalize", 4), ("color", 5), ("equalize", 5),
    ("autocontrast", 4), ("solarize", 4), ("brightness", 3), ("color", 0), ("solarize", 1), ("autocontrast", 0),
    ("translate_y", 3), ("translate_y", 3), ("autocontrast", 1), ("solarize", 1), ("equalize", 5), ("invert", 0),
    ("translate_y", 3), ("autocontrast", 1),
)  # fmt: skip
"""Name and level, 0 to 9, of every transform; several are the same."""

SHEAR, SHIFT, TURN, ENHANCE = 0.3, 150 / 331, 30.0, 0.5
"""What level 9 stands for: of the other side, of the side, in degrees, and of the contrast or likewise."""
GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue."""

Images = Float[Tensor, "b c h w"]


def apply(number: int, images: Images, tape: Tape | None) -> Images:
    """Return the images after transform ``number``; without a tape as a guess, if its direction is open.

    A move is then in the positive direction. What goes up or down by the same factor is left out, its mean.
    """
    name, level = NUMBERED[number]
    return TRANSFORMS[name](images, level / 9, tape)


def _shear_y(images: Images, strength: float, tape: Tape | None) -> Images:
    x, y = _places(images)
    return _moved(images, x, y + _signs(images, tape) * SHEAR * strength * x)


def _translate_x(images: Images, strength: float, tape: Tape | None) -> Images:
    x, y = _places(images)
    return _moved(images, x + _signs(images, tape) * SHIFT * strength * images.shape[-1], y)


def _translate_y(images: Images, strength: float, tape: Tape | None) -> Images:
    x, y = _places(images)
    return _moved(images, x, y + _signs(images, tape) * SHIFT * strength * images.shape[-2])


def _rotate(images: Images, strength: float, tape: Tape | None) -> Images:
    """Turn to the left, always; what comes in from outside is grey."""
    del tape
    angle = math.radians(-TURN * strength)
    x, y = _places(images)
    across, down = x - images.shape[-1] / 2, y - images.shape[-2] / 2
    return 0.5 + _moved(
        images - 0.5,
        math.cos(angle) * across + math.sin(angle) * down + images.shape[-1] / 2,
        math.cos(angle) * down - math.sin(angle) * across + images.shape[-2] / 2,
    )


def _color(images: Images, strength: float, tape: Tape | None) -> Images:
    return _away_from(_grey(images), images, strength, tape)


def _contrast(images: Images, strength: float, tape: Tape | None) -> Images:
    return _away_from(_grey(images).mean((-2, -1), keepdim=True), images, strength, tape)


def _brightness(images: Images, strength: float, tape: Tape | None) -> Images:
    return _away_from(torch.zeros_like(images), images, strength, tape)


def _sharpness(images: Images, strength: float, tape: Tape | None) -> Images:
    """Blend with a mean over 3x3 pixels in which the middle counts five times; the outermost pixels stay."""
    around = F.avg_pool2d(F.pad(images, (1, 1, 1, 1)), 3, stride=1)
    inside = F.pad(torch.ones_like(images[..., 1:-1, 1:-1]), (1, 1, 1, 1))
    smooth = images + inside * ((9 * around + 4 * images) / 13 - images)
    return _away_from(smooth, images, strength, tape)


def _invert(images: Images, strength: float, tape: Tape | None) -> Images:
    del strength, tape
    return 1 - images


def _solarize(images: Images, strength: float, tape: Tape | None) -> Images:
    del tape
    return torch.where(255 * images < 256 * (1 - strength), images, 1 - images)


def _posterize(images: Images, strength: float, tape: Tape | None) -> Images:
    del tape
    width = 2 ** (8 - round(8 - 4 * strength))
    return _straight_through(images, (255 * images / width + 1e-4).floor() * width / 255)


def _autocontrast(images: Images, strength: float, tape: Tape | None) -> Images:
    """Stretch every channel to [0, 1]."""
    del strength, tape
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1.0, high - low))


def _equalize(images: Images, strength: float, tape: Tape | None) -> Images:
    """Replace every pixel by the share of pixels below it among those below the highest, channel by channel."""
    del strength, tape
    levels = (255 * images.detach()).round().flatten(-2)
    ordered = levels.sort(-1).values
    below = torch.searchsorted(ordered, levels).to(images)
    most = below.amax(-1, keepdim=True)
    shares = torch.where(most > 0, below / most.clamp(min=1), levels / 255)
    return _straight_through(images, shares.view(images.shape))


TRANSFORMS: dict[str, Callable[[Images, float, Tape | None], Images]] = {
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "invert": _invert,
    "solarize": _solarize,
    "posterize": _posterize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}


def _signs(images: Images, tape: Tape | None) -> Float[Tensor, "b 1 1"]:
    drawn = torch.ones_like(images[:, 0, 0, 0]) if tape is None else tape.uniform((len(images),), images)
    return torch.where(drawn < 0.5, -1.0, 1.0).to(images)[:, None, None]


def _places(images: Images) -> tuple[Float[Tensor, "1 h w"], Float[Tensor, "1 h w"]]:
    """Return x and y of the middle of every pixel."""
    sides = [torch.arange(side, dtype=images.dtype, device=images.device) + 0.5 for side in images.shape[-2:]]
    y, x = torch.meshgrid(*sides, indexing="ij")
    return x[None], y[None]


def _moved(images: Images, x: Float[Tensor, "_ h w"], y: Float[Tensor, "_ h w"]) -> Images:
    """Return what the images have at the places (x, y), 0 outside."""
    shape = (len(images), *images.shape[-2:])
    grid = torch.stack([2 * x.expand(shape) / shape[2] - 1, 2 * y.expand(shape) / shape[1] - 1], -1)
    return F.grid_sample(images, grid, align_corners=False)


def _grey(images: Images) -> Float[Tensor, "b 1 h w"]:
    if images.shape[1] != len(GREY):
        return images.mean(1, keepdim=True)
    shares = torch.tensor(GREY, dtype=images.dtype, device=images.device)[:, None, None]
    return (images * shares).sum(1, keepdim=True)


def _away_from(other: Tensor, images: Images, strength: float, tape: Tape | None) -> Images:
    """Move every image away from ``other`` or towards it, by ``strength`` times the range."""
    if tape is None:
        return images
    factor = 1 + _signs(images, tape)[..., None] * ENHANCE * strength
    return (other + factor * (images - other)).clamp(0, 1)


def _straight_through(images: Images, values: Tensor) -> Images:
    return images + (values - images).detach()
