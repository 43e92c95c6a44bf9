"""Every defence, and attackers who do or do not know it: benchmarks/defences.toml made into docs/results/defences.md.

The options are those of benchmarks/columns.py. The page names everything that was set otherwise than in the plan.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import columns
from leakward import __version__
from leakward.metrics.intervals import p_value_above_chance
from leakward.report import markdown

LEVELS = ("unaware", "aware")
SURE = 0.05


def head(plan: Mapping[str, Any], changes: Sequence[str], note: str) -> str:
    """Return what the page says before its tables."""
    federation, data = plan["federation"], plan["data"]
    return f"""# What each defence protects, and what it costs

Real images ({data["name"]}), labels {plan["audit"]["labels"]}, weights at their random start, the `ensemble` with
{plan["attack"][0]["iterations"]} steps a member, unless a table says otherwise, and public images.
{columns.changed(changes)}Made by Leakward {__version__} with `python -m benchmarks.defence_table` from
`benchmarks/defences.toml`, which has every setting.
{note}
Accuracy and macro F1 are those of a federation of {data["clients"]} clients after {federation["rounds"]} rounds of
{federation["images"]} images each, unless a table says otherwise. That is short: the undefended row is what to compare
with. Intervals are 95 % bootstrap intervals over updates. An image is identified if its reconstruction is nearer to it
than to the other 255 images of the site. A defence *protects* if no more updates give an image away than guessing would
explain (binomial test at 5 %), whether the attacker knows of it or not, which says nothing of what else a picture may
show."""


def section(plan: Mapping[str, Any], column: Mapping[str, Any], folder: Path) -> str:
    """Return one column as a Markdown table."""
    summary = columns.read_summary(folder)
    made = columns.tables(plan, column)
    updates, images = made["audit"]["victims"], made["federation"]["images"]
    steps = made["attack"][0]["iterations"]
    own = "" if images == plan["federation"]["images"] else f" Trained on {images} images a round."
    own += "" if steps == plan["attack"][0]["iterations"] else f" {steps} steps a member."
    about = f"{updates} updates. {columns.mean_image(summary)}{own}"
    measured = [f"{words}, {level}" for level in LEVELS for words, _ in columns.MEASURES.values()]
    names = ["defence", *measured, "accuracy", "F1", "epsilon", ""]
    chance, scores = summary["controls"]["negative"]["chance"], columns.read_scores(folder)
    leaking = {level: leaking_to(level, scores, chance, updates) for level in LEVELS}
    rows = [
        entries(row, {level for level in LEVELS if row["defense"] in leaking[level]}) for row in summary["defenses"]
    ]
    if "none" not in leaking["aware"]:
        about += " No attack succeeds without a defence here, so the last column says nothing of any."
    return "\n\n".join([about, markdown.table(names, rows)])


def entries(row: Mapping[str, Any], leaks: set[str]) -> list[str]:
    """Return the entries of one defence."""
    levels = row["levels"]
    found = [
        markdown.interval(levels.get(level, {}).get(measure), form)
        for level in LEVELS
        for measure, (_, form) in columns.MEASURES.items()
    ]
    return [
        row["defense"],
        *found,
        "diverged" if row["diverged"] else number(row["accuracy"]),
        number(row["f1_macro"]),
        number(row["epsilon"]),
        verdict(row, leaks),
    ]


def verdict(row: Mapping[str, Any], leaks: set[str]) -> str:
    """Return against whom a defence protects.

    Args:
        row: Of the summary.
        leaks: At which levels of knowledge more updates give an image away than chance explains.
    """
    if "aware" in leaks:
        return (
            "does not protect" if "unaware" in leaks or row["defense"] == "none" else "protects only from the unaware"
        )
    if "unaware" in leaks:
        return "does not protect: the unaware attacker does better"
    unknown = row["verdict"]["status"] == "inconclusive"
    return f"not known: {row['verdict']['reason']}" if unknown else "protects"


def leaking_to(level: str, scores: pd.DataFrame, chance: float, updates: int) -> set[str]:
    """Return the defences under which more updates give an image away than chance explains.

    Args:
        level: Of the attacker's knowledge.
        scores: Of the run, as ``read_scores`` returns them.
        chance: To pick the right image of the site.
        updates: Attacked in each cell.
    """
    rows: Any = scores[(scores["metric"] == "identified") & (scores["knowledge"] == level)]
    rows = rows.assign(update=rows["victim"] % updates)
    found: set[str] = set()
    for name, own in rows.groupby("defense"):
        per_update = own.groupby("update")["value"]
        lucky = 1 - (1 - chance) ** float(per_update.size().mean())
        if p_value_above_chance(int(per_update.max().sum()), per_update.ngroups, lucky) < SURE:
            found.add(str(name))
    return found


def number(value: float | None) -> str:
    """Return a number, or nothing."""
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    columns.table(__doc__ or "", "defences", head, section)
