"""Data for the papers' plans, without the real images."""

from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Folders = Callable[..., Path]


@pytest.fixture
def image_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """Write sets of two classes of noise to where ``LEAKWARD_DATA`` then points; return the folder above."""

    def write(names: Iterable[str], images: int, side: int) -> Path:
        rng = np.random.default_rng(0)
        for name, (split, count), label in product(names, {"train": images, "test": 4}.items(), "ab"):
            place = tmp_path / "data" / name / split / label
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(place / f"{i}.png")
        monkeypatch.setenv("LEAKWARD_DATA", str(tmp_path / "data"))
        return tmp_path

    return write
