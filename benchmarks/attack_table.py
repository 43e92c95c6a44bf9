"""Every attack on undefended clients: runs benchmarks/attacks.toml and writes docs/results/attacks.md.

The options are those of benchmarks/columns.py. The page names everything that was set otherwise than in the plan.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import columns
from leakward import __version__
from leakward.report import markdown


def head(plan: Mapping[str, Any], changes: Sequence[str], note: str) -> str:
    """Return what the page says before its tables."""
    return f"""# What each attack recovers

Undefended clients on real images ({plan["data"]["name"]}), labels {plan["audit"]["labels"]}, weights at their random
start. {columns.changed(changes)}Made by Leakward {__version__} with
`python -m benchmarks.attack_table` from `benchmarks/attacks.toml`; seconds are wall-clock, for all victims of a cell.
{note}
Intervals are 95 % bootstrap intervals over updates. An image counts as identified if its reconstruction is nearer to it
than to the other 255 images of the site. Attacks that do not apply to a column are left out of it; where one ended
without an answer for some victims, the numbers are those of the others."""


def section(plan: Mapping[str, Any], column: Mapping[str, Any], folder: Path) -> str:
    """Return one column as a Markdown table."""
    summary = columns.read_summary(folder)
    rows = [row for row in summary["cells"] if row["status"] != "not-applicable"]
    names = ["attack", *(words for words, _ in columns.MEASURES.values()), "seconds", "won by"]
    updates = columns.tables(plan, column)["audit"]["victims"]
    cut = "".join(f" {key}: {value}." for key, value in column.get("steps", {}).items())
    about = f"{updates} updates. {columns.mean_image(summary)}" + (cut and f" Cut to fit:{cut}")
    return "\n\n".join([about, markdown.table(names, [entries(row) for row in rows])])


def entries(row: Mapping[str, Any]) -> list[str]:
    """Return the entries of one attack."""
    name = row["attack"] if row["server"] == "honest" else f"{row['attack']} (malicious server)"
    name += "" if row["status"] == "ok" else f": {row['status']}"
    found = [markdown.interval(row["metrics"].get(measure), form) for measure, (_, form) in columns.MEASURES.items()]
    won = {member: row["members"].count(member) for member in row["members"]}
    return [name, *found, f"{row['seconds']:.0f}", ", ".join(f"{member} {count}" for member, count in won.items())]


if __name__ == "__main__":
    columns.table(__doc__ or "", "attacks", head, section)
