"""What the audits of a reproduction found, as small tables from which its page can be built again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from leakward.errors import LeakwardError
from leakward.metrics import METRICS, Summary, summarise
from leakward.metrics.identification import IDENTIFIED
from leakward.report.run import read_run

SCORES, UTILITY, CELLS = "scores.parquet", "utility.parquet", "cells.parquet"
FACTORS = ["part", "attack", "defense", "knowledge", "after_rounds", "seed"]


@dataclass(frozen=True, eq=False)
class Results:
    """Every score of every image, and how good the trained models were.

    Attributes:
        scores: One row per image and measure: ``part`` of the reproduction, the factors of the cell, the ``update``
            that the image came in, ``metric`` and ``value``.
        utility: One row per part, defence, seed and round of training.
        cells: One row per cell: its factors, how many ``updates`` it attacked, in how many ``seconds``, and the
            ``chance`` to pick the right image of the site.
    """

    scores: pd.DataFrame
    utility: pd.DataFrame
    cells: pd.DataFrame

    def measure(self, metric: str, *, at_least: float | None = None, **where: Any) -> Summary | None:
        """Return one measure over all images of the cells with these factors, with its 95 % interval over updates.

        Args:
            metric: Name of the measure.
            at_least: If given, the share of images is returned for which the measure is at least this.
            where: Factors, by name.
        """
        rows = _where(self.scores[self.scores["metric"] == metric], where)
        if rows.empty:
            return None
        groups = torch.tensor(rows.groupby(["seed", "update"]).ngroup().to_numpy())
        values = torch.tensor(rows["value"].to_numpy())
        if at_least is not None:
            return summarise((values >= at_least).double(), groups, IDENTIFIED)
        return summarise(values, groups, METRICS[metric])

    def above_chance(self, **where: Any) -> bool:
        """Return whether more images were identified in these cells than guessing would, beyond the interval."""
        found = self.measure("identified", **where)
        chance = float(_where(self.cells, where)["chance"].max())
        return found is not None and found.low is not None and found.low > chance

    def seconds(self, **where: Any) -> float:
        """Return how long the attacks of these cells took per update."""
        rows = _where(self.cells, where)
        return float(rows["seconds"].sum() / rows["updates"].sum())

    def accuracy(self, part: str, defense: str, metric: str = "accuracy") -> float | None:
        """Return how good the model was at the end of training, on average over seeds; None where one has none."""
        rows: Any = self.utility[(self.utility["part"] == part) & (self.utility["defense"] == defense)]
        last = rows[rows["round"] == rows["rounds"]][metric]
        return None if last.empty or last.isna().any() else float(last.mean())

    def times(self, part: str) -> list[int]:
        """Return after how many rounds of training the updates of a part were attacked, in ascending order."""
        return sorted({int(value) for value in self.cells[self.cells["part"] == part]["after_rounds"]})

    def defenses(self, part: str) -> list[str]:
        """Return the defences of a part in the order of its plan."""
        return list(dict.fromkeys(self.cells[self.cells["part"] == part]["defense"]))

    def save(self, folder: Path) -> None:
        """Write the tables."""
        folder.mkdir(parents=True, exist_ok=True)
        self.scores.to_parquet(folder / SCORES, index=False)
        self.utility.to_parquet(folder / UTILITY, index=False)
        self.cells.to_parquet(folder / CELLS, index=False)


def load_results(folder: Path) -> Results:
    """Read the tables.

    Raises:
        LeakwardError: If one is missing or broken.
    """
    try:
        return Results(*(pd.read_parquet(folder / name) for name in (SCORES, UTILITY, CELLS)))
    except (OSError, ValueError) as error:
        raise LeakwardError(f"{folder}: expected the tables of a reproduction, got: {error}; run it first") from error


def collect(runs: Mapping[str, Path], updates: Mapping[str, int], metrics: tuple[str, ...]) -> Results:
    """Return what finished audits found.

    Args:
        runs: Run folder of every part.
        updates: How many updates each attacked per cell.
        metrics: Which measures are kept.

    Attacks go by their names alone: a part has each but once.
    """
    found: list[tuple[pd.DataFrame, ...]] = []
    for part, run in runs.items():
        cells: Any = pd.read_parquet(run / "cells.parquet").rename(columns={"id": "cell"}).assign(part=part)
        cells["attack"] = cells["attack"].str.partition("(")[0]
        read = read_run(run)
        scores: Any = read.scores.merge(cells[["cell", *FACTORS]], on="cell")
        scores["update"] = scores["victim"] % updates[part]
        kept = scores[scores["metric"].isin(metrics)]
        utility: Any = pd.read_parquet(run / "utility.parquet").assign(part=part)
        timed = cells[[*FACTORS, "seconds"]].assign(updates=updates[part], chance=read.summary.controls.negative.chance)
        found.append((kept[[*FACTORS, "update", "victim", "metric", "value"]], utility, timed))
    return Results(*(pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True)))


def _where(table: Any, factors: Mapping[str, Any]) -> Any:
    """Return the rows with these factors."""
    for name, value in factors.items():
        table = table[table[name] == value]
    return table
