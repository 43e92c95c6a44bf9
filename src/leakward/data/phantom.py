"""Phantom: blood smears drawn by a program, so that a first audit needs no download and no patient.

Eight classes with the names and numbers of BloodMNIST (Yang et al. 2023), which differ as the real cells do: size of
the cell, number and shape of the nuclear lobes, stain of nucleus and cytoplasm, granules. Position, turn, size, colour
and outline vary from image to image, and so do the red cells around. Image i depends on ``seed`` and i alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from leakward.data.dataset import Dataset
from leakward.errors import DataError

Array = NDArray[np.float64]
Colour = tuple[float, float, float]
FINE = 56
"""Images are drawn on a grid at least this fine, then averaged down."""
BACKGROUND = np.array([0.95, 0.88, 0.86])
RED_CELL = np.array([0.88, 0.70, 0.70])
LICENCE = "CC0-1.0; drawn by Leakward, no patient is shown"


@dataclass(frozen=True)
class Kind:
    """How cells of one class look; lengths are shares of half the image.

    Attributes:
        radius: Of the cell.
        cytoplasm: Its colour.
        nucleus: Colour of the nucleus.
        lobes: Number of nuclear lobes; 0 means no nucleus.
        lobe: Radius of a lobe.
        spread: Distance of the lobes from the centre of the nucleus.
        notch: Radius of a bite out of the nucleus, which makes a kidney of it.
        granule: Colour of the granules.
        density: Share of the cell that granules cover.
        over_nucleus: Whether granules also cover the nucleus.
    """

    radius: float
    cytoplasm: Colour
    nucleus: Colour
    lobes: int
    lobe: float
    spread: float = 0.0
    notch: float = 0.0
    granule: Colour = (0.6, 0.4, 0.6)
    density: float = 0.0
    over_nucleus: bool = False


KINDS: dict[str, Kind] = {
    "basophil": Kind(0.60, (0.76, 0.64, 0.80), (0.46, 0.30, 0.62), 2, 0.28, 0.18, 0.0, (0.24, 0.13, 0.42), 0.38, True),
    "eosinophil": Kind(0.66, (0.93, 0.74, 0.68), (0.45, 0.27, 0.60), 2, 0.26, 0.27, 0.0, (0.90, 0.46, 0.38), 0.48),
    "erythroblast": Kind(0.44, (0.66, 0.64, 0.80), (0.27, 0.14, 0.42), 1, 0.27),
    "immature granulocyte": Kind(
        0.74, (0.76, 0.68, 0.84), (0.54, 0.34, 0.66), 1, 0.48, 0.06, 0.0, (0.55, 0.28, 0.58), 0.20
    ),
    "lymphocyte": Kind(0.48, (0.64, 0.72, 0.90), (0.38, 0.22, 0.56), 1, 0.40),
    "monocyte": Kind(0.76, (0.74, 0.74, 0.84), (0.50, 0.36, 0.66), 1, 0.50, 0.0, 0.34),
    "neutrophil": Kind(0.64, (0.92, 0.80, 0.82), (0.42, 0.24, 0.58), 4, 0.19, 0.28, 0.0, (0.82, 0.62, 0.74), 0.22),
    "platelet": Kind(0.20, (0.70, 0.56, 0.76), (0.5, 0.3, 0.6), 0, 0.0, 0.0, 0.0, (0.44, 0.24, 0.58), 0.40),
}


def load(
    name: str = "phantom",
    *,
    path: str | None = None,
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Draw the data set.

    Args:
        name: For the data set.
        path: Must be None: there is nothing to read.
        size: Height and width in pixels, 16 to 512; 28 by default.
        count: Number of images, at least 64; 2,000 by default.
        seed: Equal seeds draw equal images.

    Raises:
        DataError: If an argument is out of range.
    """
    size, count = 28 if size is None else size, 2000 if count is None else count
    if path is not None:
        raise DataError(f"data {name!r}: expected no path, got {path!r}; the images are drawn, not read")
    if not 16 <= size <= 512 or count < 64:
        raise DataError(f"data {name!r}: expected size 16 to 512 and count at least 64, got {size} and {count}")
    labels = np.array([_source(seed, i).integers(len(KINDS)) for i in range(count)])
    images = np.stack([draw(int(label), size, seed, i) for i, label in enumerate(labels)])
    first, second = int(0.6 * count), int(0.8 * count)
    index = torch.arange(count)
    return Dataset(
        name=name,
        images=torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous(),
        labels=torch.from_numpy(labels).long(),
        classes=tuple(KINDS),
        splits={"train": index[:first], "val": index[first:second], "test": index[second:]},
        licence=LICENCE,
        citation="Leakward's own procedural blood smear",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


def draw(label: int, size: int, seed: int, number: int) -> NDArray[np.float64]:
    """Return one image (size size 3) in [0, 1]."""
    rng = _source(seed, number)
    rng.integers(len(KINDS))  # the label was the first number drawn
    kind = list(KINDS.values())[label]
    scale = max(1, -(-FINE // size))
    side = size * scale
    picture = _ground(rng, side)
    x, y = _frame(rng, side)
    radius = kind.radius * rng.uniform(0.9, 1.1)
    cell = _edge(radius - _outline(rng, x, y), side)
    tint = rng.normal(0, 0.025, 3)
    picture = _paint(picture, cell, np.array(kind.cytoplasm) + tint + 0.03 * _texture(rng, side, 10)[..., None])
    nucleus = _nucleus(rng, kind, x, y, side) * cell
    chromatin = np.array(kind.nucleus) + tint + 0.07 * _texture(rng, side, 24)[..., None]
    picture = _paint(picture, nucleus, chromatin)
    grain = _texture(rng, side, 30)
    granules = (
        np.clip(4 * (grain - np.quantile(grain, 1 - kind.density)), 0, 1) if kind.density else np.zeros_like(grain)
    )
    covered = cell if kind.over_nucleus else cell * (1 - nucleus)
    picture = _paint(picture, 0.85 * granules * covered, np.array(kind.granule) + tint)
    blurred = gaussian_filter(picture, (0.45 * scale, 0.45 * scale, 0))
    small = blurred.reshape(size, scale, size, scale, 3).mean((1, 3))
    return np.clip(small + rng.normal(0, 0.006, small.shape), 0, 1)


def _source(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number])


def _ground(rng: np.random.Generator, side: int) -> Array:
    """Return the background with the red cells that touch the frame."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = rng.normal(0, 0.02) + 0.03 * (x * rng.normal() + y * rng.normal()) * 0.5
    picture = BACKGROUND + rng.normal(0, 0.012, 3) + light[..., None]
    for _ in range(rng.integers(2, 6)):
        angle, away, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.25), rng.uniform(0.34, 0.46)
        distance = np.hypot(x - away * np.cos(angle), y - away * np.sin(angle))
        pallor = 0.09 * np.exp(-((distance / (0.5 * radius)) ** 2))
        picture = _paint(picture, _edge(radius - distance, side), RED_CELL + rng.normal(0, 0.02, 3) + pallor[..., None])
    return picture


def _frame(rng: np.random.Generator, side: int) -> tuple[Array, Array]:
    """Return coordinates that are shifted, turned and stretched at random."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    x, y = x - rng.normal(0, 0.06), y - rng.normal(0, 0.06)
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.92, 1.08)
    return (x * np.cos(angle) + y * np.sin(angle)) * stretch, (y * np.cos(angle) - x * np.sin(angle)) / stretch


def _outline(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Return the distance from the centre, made uneven so that its level lines wobble."""
    angle = np.arctan2(y, x)
    wobble = sum(rng.normal(0, 0.035) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4))
    return np.hypot(x, y) * (1 + wobble)


def _nucleus(rng: np.random.Generator, kind: Kind, x: Array, y: Array, side: int) -> Array:
    """Return the mask of the nucleus: lobes joined to one, less a notch."""
    if not kind.lobes:
        return np.zeros_like(x)
    closeness = np.zeros_like(x)
    turn, arc = rng.uniform(0, 2 * np.pi), min(2 * np.pi / kind.lobes, np.pi) * rng.uniform(0.75, 1.0)
    for lobe in range(kind.lobes):
        angle, away = turn + lobe * arc, kind.spread * rng.uniform(0.85, 1.15)
        radius = kind.lobe * rng.uniform(0.88, 1.12)
        distance = _outline(rng, x - away * np.cos(angle), y - away * np.sin(angle)) / radius
        closeness += np.exp(-2.2 * (distance**2 - 1))
    mask = _edge(0.35 * kind.lobe * np.log(np.maximum(closeness, 1e-9)), side)
    if kind.notch:
        away = kind.lobe * rng.uniform(0.85, 1.05)
        bite = kind.notch * rng.uniform(0.85, 1.15) - np.hypot(x - away * np.cos(turn), y - away * np.sin(turn))
        mask = mask * (1 - _edge(bite, side))
    return mask


def _texture(rng: np.random.Generator, side: int, waves: int) -> Array:
    """Return smooth noise of mean 0 and standard deviation 1 with about ``waves`` ripples across."""
    noise = gaussian_filter(rng.standard_normal((side, side)), side / (2.5 * waves), mode="wrap")
    return noise / noise.std()


def _edge(inside: Array, side: int) -> Array:
    """Return a mask that falls from 1 to 0 over two pixels where ``inside`` changes sign."""
    return np.clip(inside * side / 4 + 0.5, 0, 1)


def _paint(picture: Array, mask: Array, colour: Array) -> Array:
    return picture * (1 - mask[..., None]) + colour * mask[..., None]
