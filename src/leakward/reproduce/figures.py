"""Figures of a page that is kept in a repository: equal tables, equal files."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leakward.errors import LeakwardError
from leakward.metrics import Summary
from leakward.report.run import read_run

PICTURES = "pictures.png"
SHOWN = 8
"""Images of a row."""


@dataclass(frozen=True)
class Point:
    """One setting.

    Attributes:
        family: By which it is coloured.
        level: Of the attacker; only those who know the defence are drawn filled.
        x: With its interval.
        y: Likewise.
    """

    family: str
    level: str
    x: Summary
    y: Summary


@dataclass(frozen=True)
class Curve:
    """One setting over time.

    Attributes:
        name: In the legend.
        values: With their intervals, by time in ascending order.
    """

    name: str
    values: Mapping[int, Summary]


def require_matplotlib() -> None:
    """Raise ``LeakwardError`` if nothing can be drawn."""
    if find_spec("matplotlib") is None:
        raise LeakwardError("figures: expected Matplotlib, which is not installed; install leakward[reproduce]")


def scatter(points: Sequence[Point], x: str, y: str, title: str, path: Path) -> None:
    """Write one point with bars for every setting, as SVG.

    Raises:
        LeakwardError: If Matplotlib is not installed.
    """
    with _drawn((7.2, 4.2), path) as figure:
        axes: Any = figure.add_subplot()
        colours = {family: f"C{place}" for place, family in enumerate(dict.fromkeys(point.family for point in points))}
        for family, level in dict.fromkeys((point.family, point.level) for point in points):
            own = [point for point in points if (point.family, point.level) == (family, level)]
            values = [[point.x.mean for point in own], [point.y.mean for point in own]]
            axes.errorbar(*values, xerr=_bars([p.x for p in own]), yerr=_bars([p.y for p in own]), fmt="o", capsize=2,
                color=colours[family], mfc=colours[family] if level == "aware" else "white", label=f"{family}, {level}",
            )  # fmt: skip
        axes.set(xlabel=x, ylabel=y, title=title)
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize="small")


def curves(panels: Mapping[str, Sequence[Curve]], x: str, y: str, path: Path) -> None:
    """Write what changes over time, with bars, as SVG: side by side, a panel for each title with curves of equal names.

    Raises:
        LeakwardError: If Matplotlib is not installed.
    """
    with _drawn((2.4 + 2.4 * len(panels), 3.4), path) as figure:
        row: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, own) in zip(row, panels.items(), strict=True):
            for curve in own:
                times, values = [*curve.values], [*curve.values.values()]
                means = [value.mean for value in values]
                axes.errorbar(times, means, yerr=_bars(values), fmt="o-", ms=3, lw=1, capsize=2, label=curve.name)
            axes.set(xlabel=x, title=title)
            axes.grid(alpha=0.3)
        row[0].set(ylabel=y)
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")


def pictures(run: Path, path: Path, attack: str = "") -> None:
    """Write images of the site, and below them what was recovered of them with every defence, as PNG.

    Args:
        run: Folder of a finished audit; of its cells, those of aware attackers on the trained network.
        path: Of the picture.
        attack: Name of the one to show, where the audit has several.
    """
    read = read_run(run)
    cells = [c for c in read.summary.cells if c.knowledge == "aware" and c.attack.startswith(attack)]
    last = max((cell.after_rounds for cell in cells), default=0)
    found = [read.pictures(cell.id) for cell in cells if cell.after_rounds == last]
    rows = [one.reconstructions[:SHOWN] for one in found if one is not None]
    originals = [one.originals[:SHOWN] for one in found[:1] if one is not None]
    if rows:
        grid = np.concatenate([np.concatenate(list(row), axis=2) for row in [*originals, *rows]], axis=1)
        Image.fromarray(np.moveaxis(grid, 0, 2).squeeze()).save(path)


def _bars(values: Sequence[Summary]) -> list[list[float]] | None:
    """Return the lengths of the bars below and above; none where nothing is known of their ends."""
    if any(value.low is None or value.high is None for value in values):
        return None
    return [
        [value.mean - (value.low or 0.0) for value in values],
        [(value.high or 0.0) - value.mean for value in values],
    ]


@contextmanager
def _drawn(size: tuple[float, float], path: Path) -> Generator[Any]:
    """Yield a figure of so many inches to draw into, and write it."""
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    yield figure
    with rc_context({"svg.hashsalt": "leakward", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
