"""Figures: equal numbers, equal files, with what they show in them; and no run whose page could not be drawn."""

from pathlib import Path

import pytest

from leakward.errors import LeakwardError
from leakward.metrics import Summary
from leakward.reproduce import PAPERS, reproduce
from leakward.reproduce.figures import Curve, Point, curves, scatter

VALUES = [Summary(0.8, 0.7, 0.9, 1.0, 8), Summary(0.5, 0.4, 0.6, 1.0, 8)]
ONE = Summary(0.3, None, None, 0.3, 1)
PANELS = {
    "an attack": [Curve("none", dict(zip((0, 5), VALUES, strict=True)))],
    "another": [Curve("none", dict.fromkeys((0, 5), ONE))],
}
CURVES, SCATTER = ("an attack", "another", "none", "round", "SSIM"), ("dp-sgd, aware", "accuracy", "PSNR", "of what")


def draw(folder: Path) -> list[bytes]:
    curves(PANELS, "round", "SSIM", folder / "curves.svg")
    scatter([Point("dp-sgd", "aware", *VALUES)], "accuracy", "PSNR", "of what", folder / "scatter.svg")
    return [(folder / f"{name}.svg").read_bytes() for name in ("curves", "scatter")]


def test_equal_numbers_make_equal_files_that_name_what_they_show(tmp_path):
    first, second = draw(tmp_path), draw(tmp_path)
    assert first == second
    for picture, words in zip(first, (CURVES, SCATTER), strict=True):
        assert all(f">{word}<".encode() in picture for word in words)


def test_without_matplotlib_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr("leakward.reproduce.figures.find_spec", lambda name: None)
    with pytest.raises(LeakwardError, match=r"install leakward\[reproduce\]"):
        reproduce(PAPERS["medpfl"], "quick", tmp_path / "out", tmp_path / "pages")
    assert not [*tmp_path.iterdir()]
