"""Where something stands."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A line of a file.

    Args:
        path: Of the file, seen from the folder that was read.
        line: From 1.
    """

    path: Path
    line: int
