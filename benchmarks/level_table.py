"""Attacks that know a defence against those that do not: benchmarks/levels.toml made into docs/results/levels.md.

The options are those of benchmarks/columns.py. The page names everything that was set otherwise than in the plan.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import columns
from leakward import __version__
from leakward.metrics import METRICS, Summary, summarise
from leakward.report import markdown

LEVELS = ("unaware", "aware")


def head(plan: Mapping[str, Any], changes: Sequence[str], note: str) -> str:
    """Return what the page says before its tables."""
    return f"""# Does an attacker who knows the defence do better?

Real images ({plan["data"]["name"]}), labels {plan["audit"]["labels"]}, weights at their random start. The attacks take
few steps, because what is asked is which of two attackers is stronger. {columns.changed(changes)}Made by Leakward
{__version__} with `python -m benchmarks.level_table` from `benchmarks/levels.toml`, which has every setting.
{note}
An entry is the share of images identified, unaware and then aware, and by how much the mean SSIM of the aware attacker
is higher, with a 95 % bootstrap interval over updates, the same for both attackers. An interval all below 0 stands in
bold: there the attacker who knows is weaker. Of such intervals one in forty lies below 0 where nothing is the case."""


def section(plan: Mapping[str, Any], column: Mapping[str, Any], folder: Path) -> str:
    """Return one column as a Markdown table."""
    made = columns.tables(plan, column)
    updates = made["audit"]["victims"]
    pairs = compared(folder, updates)
    attacks, defenses = (list(dict.fromkeys(pair[place] for pair in pairs)) for place in (0, 1))
    rows = [[d, *(entry(*pairs[a, d]) if (a, d) in pairs else "" for a in attacks)] for d in defenses]
    about = f"{updates} updates. {columns.mean_image(columns.read_summary(folder))} {count(pairs.values())}"
    return "\n\n".join([about, markdown.table(["defence", *attacks], rows)])


Pair = tuple[float, float, Summary]
"""Share identified by the unaware and by the aware attacker, and how much higher the SSIM of the latter is."""


def compared(folder: Path, updates: int) -> dict[tuple[str, str], Pair]:
    """Return every attack and defence that both attackers answered, on the images of ``updates`` that both did."""
    wide = columns.read_scores(folder).pivot(
        index=["attack", "defense", "metric", "victim"], columns="knowledge", values="value"
    )
    both = wide.loc[:, list(LEVELS)].dropna()
    groups = both.groupby(level=["attack", "defense"], sort=False)
    return {name: pair(values, updates) for name, values in groups}


def pair(values: pd.DataFrame, updates: int) -> Pair:
    """Compare two attackers on the same images."""
    found, likeness = (values.xs(metric, level="metric") for metric in ("identified", "ssim"))
    higher = torch.tensor((likeness["aware"] - likeness["unaware"]).to_numpy())
    groups = torch.tensor(likeness.index.get_level_values("victim") % updates)
    return (*(float(found[level].mean()) for level in LEVELS), summarise(higher, groups, METRICS["ssim"]))


def entry(unaware: float, aware: float, higher: Summary) -> str:
    """Return one entry."""
    words = markdown.interval(higher, "{:+.2f}")
    return f"{unaware:.0%}, {aware:.0%}; " + (f"**{words}**" if weaker(higher) else words)


def weaker(higher: Summary) -> bool:
    """Return whether the attacker who knows the defence is the weaker one."""
    return higher.high is not None and higher.high < 0


def count(pairs: Sequence[Pair]) -> str:
    """Return who is stronger how often, in words."""
    better = sum(higher.low is not None and higher.low > 0 for *_, higher in pairs)
    worse = sum(weaker(higher) for *_, higher in pairs)
    return f"Of {len(pairs)} pairs the attacker who knows is stronger in {better}, weaker in {worse}."


if __name__ == "__main__":
    columns.table(__doc__ or "", "levels", head, section)
