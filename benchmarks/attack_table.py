"""Every attack on undefended clients: runs benchmarks/attacks.toml and writes docs/results/attacks.md.

    python -m benchmarks.attack_table [--out runs/attack-table] [--column N ...] [--set audit.victims=4 ...]

Columns are audits of their own and go on where they stopped. The page names everything that was set otherwise than in
the plan.
"""

import argparse
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from leakward import __version__, audit

HERE = Path(__file__).parent
PLAN, PAGE = HERE / "attacks.toml", HERE.parent / "docs" / "results" / "attacks.md"
MEASURES = {"psnr": ("PSNR, dB", "{:.1f}"), "ssim": ("SSIM", "{:.2f}"), "identified": ("identified", "{:.0%}")}


def main() -> None:
    """Run what has not been run, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/attack-table"), help="where the audits are kept")
    parser.add_argument("--column", type=int, action="append", help="only this column, counted from 1")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="as in audit.victims=4")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--note", default="", help="a sentence about this run, for the page")
    given = parser.parse_args()
    plan, console = tomllib.loads(PLAN.read_text(encoding="utf-8")), Console()
    for change in given.changes:
        key, _, value = change.partition("=")
        table, _, name = key.partition(".")
        plan[table][name] = tomllib.loads(f"value = {value}")["value"]
    parts: list[str] = []
    for number, column in enumerate(plan.pop("column"), start=1):
        folder = given.out / f"column-{number}"
        if not given.column or number in given.column:
            console.rule(column["title"])
            steps = column.get("steps", {})
            attacks = [table | {key: steps[key] for key in steps.keys() & table.keys()} for table in plan["attack"]]
            tables = plan | {"model": column["model"], "recipe": column["recipe"], "attack": attacks}
            audit(tables, folder, progress=lambda what, done: console.print(f"{done:4.0%} {what}", highlight=False))
        if (folder / "summary.json").exists():
            parts.append(section(column, json.loads((folder / "summary.json").read_text(encoding="utf-8"))))
        else:
            parts.append(f"## {column['title']}\n\nNot run.")
    given.page.parent.mkdir(parents=True, exist_ok=True)
    given.page.write_text("\n\n".join([head(plan, given.changes, given.note), *parts]) + "\n", encoding="utf-8")
    console.print(f"page: {given.page}")


def head(plan: Mapping[str, Any], changes: list[str], note: str) -> str:
    """Return what the page says before its tables."""
    cut = f"Set otherwise than in the plan: {', '.join(changes)}. " if changes else ""
    return f"""# What each attack recovers

Undefended clients on real images ({plan["data"]["name"]}), {plan["audit"]["victims"]} updates per cell, labels
{plan["audit"]["labels"]}, weights at their random start. {cut}Made by Leakward {__version__} with
`python -m benchmarks.attack_table` from `benchmarks/attacks.toml`; seconds are wall-clock, for all victims of a cell.
{note}
Intervals are 95 % bootstrap intervals over updates. An image counts as identified if its reconstruction is nearer to it
than to the other 255 images of the site. Attacks that do not apply to a column are left out of it; where one ended
without an answer for some victims, the numbers are those of the others."""


def section(column: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Return one column as a Markdown table."""
    mean = summary["controls"]["negative"]["mean_image"]
    rows = [row for row in summary["cells"] if row["status"] != "not-applicable"]
    head = ["attack", *(words for words, _ in MEASURES.values()), "seconds", "won by"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(entries(row))} |" for row in rows]
    guess = f"The public mean image alone: {mean['psnr']:.1f} dB, SSIM {mean['ssim']:.2f}."
    cut = "".join(f" {key}: {value}." for key, value in column.get("steps", {}).items())
    return "\n".join([f"## {column['title']}", "", guess + (cut and f" Cut to fit:{cut}"), "", *lines])


def entries(row: Mapping[str, Any]) -> list[str]:
    """Return the entries of one attack."""
    name = row["attack"] if row["server"] == "honest" else f"{row['attack']} (malicious server)"
    name += "" if row["status"] == "ok" else f": {row['status']}"
    found = [interval(row["metrics"].get(measure), form) for measure, (_, form) in MEASURES.items()]
    won = {member: row["members"].count(member) for member in row["members"]}
    return [name, *found, f"{row['seconds']:.0f}", ", ".join(f"{member} {count}" for member, count in won.items())]


def interval(estimate: Mapping[str, float | None] | None, form: str) -> str:
    """Return a mean with its interval."""
    if estimate is None or estimate["mean"] is None:
        return "none"
    mean, low, high = (estimate[key] for key in ("mean", "low", "high"))
    if low is None or high is None:
        return form.format(mean)
    return f"{form.format(mean)} ({form.format(low)} to {form.format(high)})"


if __name__ == "__main__":
    main()
