"""Apps, jobs and sites as small as they can be, written where the tests may read them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minimal_apps import Files, write

Rules = Callable[[Files], dict[str, list[Any]]]


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """Write files to a folder of their own, and return what is found in it by the names of the rules."""
    from leakward.linting import lint

    count = iter(range(1_000))

    def found(files: Files) -> dict[str, list[Any]]:
        folder = tmp_path / str(next(count))
        write(folder, files)
        sorted_by: dict[str, list[Any]] = {}
        for each in lint(folder):
            sorted_by.setdefault(each.rule, []).append(each)
        return sorted_by

    return found
