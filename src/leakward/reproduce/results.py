"""What the audits of a reproduction found, as two small tables from which its page can be built again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from leakward.errors import LeakwardError
from leakward.metrics import METRICS, Summary, summarise

SCORES, UTILITY = "scores.parquet", "utility.parquet"
FACTORS = ["part", "attack", "defense", "knowledge", "after_rounds", "seed"]


@dataclass(frozen=True, eq=False)
class Results:
    """Every score of every image, and how good the trained models were.

    Attributes:
        scores: One row per image and measure: ``part`` of the reproduction, the factors of the cell, the ``update``
            that the image came in, ``metric`` and ``value``.
        utility: One row per part, defence, seed and round of training.
    """

    scores: pd.DataFrame
    utility: pd.DataFrame

    def measure(self, metric: str, **where: Any) -> Summary | None:
        """Return one measure over all images of the cells with these factors, with its 95 % interval over updates."""
        rows: Any = self.scores[self.scores["metric"] == metric]
        for name, value in where.items():
            rows = rows[rows[name] == value]
        if rows.empty:
            return None
        groups = torch.tensor(rows.groupby(["seed", "update"]).ngroup().to_numpy())
        return summarise(torch.tensor(rows["value"].to_numpy()), groups, METRICS[metric])

    def accuracy(self, part: str, defense: str, metric: str = "accuracy") -> float | None:
        """Return how good the model was at the end of training, on average over seeds; None where none was trained."""
        rows: Any = self.utility[(self.utility["part"] == part) & (self.utility["defense"] == defense)]
        last = rows[rows["round"] == rows["rounds"]][metric]
        return None if last.empty else float(last.mean())

    @property
    def times(self) -> list[int]:
        """Return after how many rounds of training updates were attacked, in ascending order."""
        return sorted({int(value) for value in self.scores["after_rounds"]})

    def defenses(self, part: str) -> list[str]:
        """Return the defences of a part in the order of its plan."""
        return list(dict.fromkeys(self.scores[self.scores["part"] == part]["defense"]))

    def save(self, folder: Path) -> None:
        """Write both tables."""
        folder.mkdir(parents=True, exist_ok=True)
        self.scores.to_parquet(folder / SCORES, index=False)
        self.utility.to_parquet(folder / UTILITY, index=False)


def load_results(folder: Path) -> Results:
    """Read both tables.

    Raises:
        LeakwardError: If one is missing or broken.
    """
    try:
        return Results(pd.read_parquet(folder / SCORES), pd.read_parquet(folder / UTILITY))
    except (OSError, ValueError) as error:
        raise LeakwardError(f"{folder}: expected the tables of a reproduction, got: {error}; run it first") from error


def collect(runs: Mapping[str, Path], updates: Mapping[str, int], metrics: tuple[str, ...]) -> Results:
    """Return what finished audits found.

    Args:
        runs: Run folder of every part.
        updates: How many updates each attacked per cell.
        metrics: Which measures are kept.
    """
    found: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    for part, run in runs.items():
        cells = pd.read_parquet(run / "cells.parquet").rename(columns={"id": "cell"}).assign(part=part)
        scores: Any = pd.read_parquet(run / "scores.parquet").merge(cells[["cell", *FACTORS]], on="cell")
        scores["update"] = scores["victim"] % updates[part]
        kept = scores[scores["metric"].isin(metrics)]
        utility: Any = pd.read_parquet(run / "utility.parquet").assign(part=part)
        found.append((kept[[*FACTORS, "update", "victim", "metric", "value"]], utility))
    scores, utility = (pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True))
    return Results(scores, utility)
