"""Fixtures for every test.

Nothing here imports leakward at module level: the shape checker of the test run has to be installed first.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., tuple[object, str, str]]
Reference = Callable[[str], dict[str, np.ndarray[Any, Any]]]
ENGINES = {"flare-": "nvflare", "flower-": "flwr"}
"""How the names of defences begin that cannot be made without a package."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases of a defence whose engine is not installed."""
    missing = {prefix: package for prefix, package in ENGINES.items() if find_spec(package) is None}
    for item in items:
        case = getattr(item, "callspec", None)
        values = [] if case is None else case.params.values()
        names = [value.stem if isinstance(value, Path) else value for value in values]
        for prefix, package in missing.items():
            if any(isinstance(name, str) and name.startswith(prefix) for name in names):
                item.add_marker(pytest.mark.skip(reason=f"{package} is not installed"))


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


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Train the federations of audits in this process; the jobs that were asked for, one list for each start."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "training")
    tiny_job = pytest.importorskip("tiny_job", reason="needs leakward[flower]", exc_type=ImportError)
    started: list[list[Any]] = []

    def train(jobs: list[Any], done: Callable[[int, Any], None], progress: Callable[[int, str, float], None]) -> None:
        started.append(jobs)
        for place, result in enumerate(tiny_job.run(*jobs)):
            progress(place, "training", 0.5)
            done(place, result)

    monkeypatch.setattr("leakward.auditing.trainings.train_jobs", train)
    return started


@pytest.fixture
def leakward(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process; return exit code, stdout and stderr."""
    from leakward import cli

    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["leakward", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        code = caught.value.code
        return (0 if code is None else code), printed.out, printed.err

    return run
