"""What the audits of a reproduction found, as small tables from which its page can be built again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
PLACE = ["part", "attack", "after_rounds"]
Place = tuple[str, str, int]
"""A part, an attack, and after how many rounds of training."""
PAIRED = ["part", "attack", "after_rounds", "seed", "update", "victim"]
"""What two scores of one image have in common that differ in the defence."""


@dataclass(frozen=True, eq=False)
class Results:
    """Every score of every image, and how good the trained models were.

    Attributes:
        scores: One row per image and measure: ``part`` of the reproduction, the factors of the cell, the ``update``
            that the image came in, ``metric`` and ``value``.
        utility: One row per part, defence, seed and round of training, with the number of ``test_images``.
        cells: One row per cell: its factors, how many ``updates`` it attacked, in how many ``seconds``, and the
            ``chance`` that one of the reconstructions of an update points at a given image of the site.
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

    def over_time(self, metric: str, part: str, **where: Any) -> dict[int, Summary]:
        """Return one measure of a part by the rounds of training before, where it was measured."""
        found = {time: self.measure(metric, part=part, after_rounds=time, **where) for time in self.times(part)}
        return {time: value for time, value in found.items() if value is not None}

    def difference(
        self, metric: str, defense: str, than: str = "none", *, at_most: float = math.inf, **where: Any
    ) -> Summary | None:
        """Return by how much lower a measure is with a defence than with another one or none, image by image.

        Args:
            metric: Name of the measure.
            defense: Of the cells that are lower, if the difference is positive.
            than: Of those they are compared with; images that either lacks are left out.
            at_most: Values above count as this.
            where: Factors of both.

        Returns:
            The mean of the differences, with its interval over updates; None if there is none.
        """
        rows = _where(self.scores[self.scores["metric"] == metric], where)
        here, there = (
            rows[rows["defense"] == name].set_index(PAIRED)["value"].clip(upper=at_most) for name in (defense, than)
        )
        found: Any = (there - here).dropna()
        if found.empty:
            return None
        groups = torch.tensor(found.groupby(level=["part", "seed", "update"]).ngroup().to_numpy())
        return summarise(torch.tensor(found.to_numpy()), groups, METRICS[metric])

    def above_chance(self, **where: Any) -> bool:
        """Return whether more images were identified in these cells than guessing would, beyond the interval."""
        found = self.measure("identified", **where)
        return found is not None and found.low is not None and found.low > self.chance(**where)

    def chance(self, **where: Any) -> float:
        """Return how many of the images of these cells guessing would identify, at most."""
        return float(_where(self.cells, where)["chance"].max())

    def among(self, places: Sequence[Place]) -> "Results":
        """Return the scores of these parts, attacks and times alone."""
        chosen = pd.DataFrame(places, columns=PLACE)
        return replace(self, scores=self.scores.merge(chosen, on=PLACE), cells=self.cells.merge(chosen, on=PLACE))

    def leaking(self, part: str) -> list[Place]:
        """Return the cells of a part whose attack identifies more images without a defence than guessing would."""
        rows = _where(self.cells, {"part": part, "defense": "none"})[PLACE].drop_duplicates()
        places = [(part, str(attack), int(time)) for attack, time in rows[PLACE[1:]].to_numpy()]
        return [p for p in places if self.above_chance(defense="none", **dict(zip(PLACE, p, strict=True)))]

    def seconds(self, **where: Any) -> float:
        """Return how long the attacks of these cells took per update."""
        rows = _where(self.cells, where)
        return float(rows["seconds"].sum() / rows["updates"].sum())

    def accuracy(self, part: str, defense: str, metric: str = "accuracy") -> float | None:
        """Return how good the model was at the end of training, on average over seeds; None where one has none."""
        rows: Any = self.utility[(self.utility["part"] == part) & (self.utility["defense"] == defense)]
        last = rows[rows["round"] == rows["rounds"]][metric]
        return None if last.empty or last.isna().any() else float(last.mean())

    def tested(self, part: str) -> int:
        """Return on how many images the models of a part were tested."""
        return int(_where(self.utility, {"part": part})["test_images"].max())

    def parts(self) -> list[str]:
        """Return the parts in their order."""
        return list(dict.fromkeys(self.cells["part"]))

    def attacks(self, part: str) -> list[str]:
        """Return the attacks of a part in the order of its plan."""
        return list(dict.fromkeys(_where(self.cells, {"part": part})["attack"]))

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
        tested = read.plan.facts.data.test_images
        utility: Any = pd.read_parquet(run / "utility.parquet").assign(part=part, test_images=tested)
        images = cells["victims"] / updates[part]  # of an update: each may be matched to any of its reconstructions
        chance = (images * read.summary.controls.negative.chance).clip(upper=1.0)
        timed = cells[[*FACTORS, "seconds"]].assign(updates=updates[part], chance=chance)
        found.append((kept[[*FACTORS, "update", "victim", "metric", "value"]], utility, timed))
    return Results(*(pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True)))


def _where(table: Any, factors: Mapping[str, Any]) -> Any:
    """Return the rows with these factors."""
    for name, value in factors.items():
        table = table[table[name] == value]
    return table
