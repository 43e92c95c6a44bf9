"""Fixtures for every test.

Nothing here imports leakward at module level: the shape checker of the test run has to be installed first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Reference = Callable[[str], dict[str, np.ndarray[Any, Any]]]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and reference values, which is kept beside the checkout and not in it."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real images or reference values: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def reference(shared: Path) -> Reference:
    """Load the arrays of one file of independently computed values: ``reference("image_quality")["ssim"]``."""

    def load(name: str) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(shared / "reference" / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return load
