"""Where data sets are looked for on this machine."""

import os
from pathlib import Path

from leakward.errors import DataError

VARIABLE = "LEAKWARD_DATA"


def data_folder() -> Path | None:
    """Return the folder that the environment variable ``LEAKWARD_DATA`` names, or None if it is not set.

    Raises:
        DataError: If it names something that is not a folder.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"{VARIABLE}: expected a folder, got {value}, which is none; correct or unset the variable")
    return folder


def first(folder: Path, *patterns: str) -> Path | None:
    """Return the first path in ``folder`` that fits a pattern; earlier patterns win, then the alphabet."""
    return next((found for pattern in patterns for found in sorted(folder.glob(pattern))), None)


def existing(path: str | Path) -> Path:
    """Return ``path`` with ``~`` expanded.

    Raises:
        DataError: If there is nothing.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError(f"{path}: expected a file or folder, but there is none; check the path")
    return found
