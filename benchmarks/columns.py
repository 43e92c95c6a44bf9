"""Plans with columns: what stands above holds for all of them; every column is an audit that goes on where it stopped.

    python -m benchmarks.TABLE [--out FOLDER] [--column N ...] [--set audit.victims=4 ...] [--page FILE] [--note TEXT]

A column may have tables of its own, which go before those of the plan key by key, and ``steps``: what to set instead in
attacks that have such a key, or, under the name of an attack, how many iterations of it. Columns of a plan with a
federation share its trainings, and run one after the other.
"""

import argparse
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from leakward import audit

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
MEASURES = {"psnr": ("PSNR, dB", "{:.1f}"), "ssim": ("SSIM", "{:.2f}"), "identified": ("identified", "{:.0%}")}
OWN = {"title", "steps"}
"""Keys of a column that are no tables of a plan."""
SUMMARY = "summary.json"
Summary = Mapping[str, Any]


def table(
    about: str,
    name: str,
    head: Callable[[Mapping[str, Any], Sequence[str], str], str],
    section: Callable[[Mapping[str, Any], Mapping[str, Any], Path], str],
) -> None:
    """Run what has not been run of the plan ``name``, and write its page.

    Args:
        about: What the command line's help says.
        name: Of plan and page.
        head: From plan, changes and note to what the page says before its tables.
        section: From plan, column and the run folder of its audit to what it says of the column, below its title.
    """
    given = arguments(about, name)
    plan = read(HERE / f"{name}.toml", given.changes)
    parts = [
        f"## {column['title']}\n\n{'Not run.' if folder is None else section(plan, column, folder)}"
        for column, folder in run(plan, given)
    ]
    write(given.page, [head(plan, given.changes, given.note), *parts])


def arguments(about: str, name: str) -> argparse.Namespace:
    """Read the command line of the table ``name``."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="where the audits are kept")
    parser.add_argument("--column", type=int, action="append", help="only this column, counted from 1")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="as in audit.victims=4")
    parser.add_argument("--page", type=Path, default=RESULTS / f"{name}.md")
    parser.add_argument("--note", default="", help="a sentence about this run, for the page")
    return parser.parse_args()


def read(path: Path, changes: Sequence[str]) -> dict[str, Any]:
    """Return a plan with columns, changed as asked on the command line."""
    plan = tomllib.loads(path.read_text(encoding="utf-8"))
    for change in changes:
        key, _, value = change.partition("=")
        table, _, name = key.partition(".")
        plan[table][name] = tomllib.loads(f"value = {value}")["value"]
    return plan


def run(plan: Mapping[str, Any], given: argparse.Namespace) -> Iterator[tuple[Mapping[str, Any], Path | None]]:
    """Run the columns that were asked for, and yield each with its run folder, or None where it was not run."""
    console = Console()
    for number, column in enumerate(plan["column"], start=1):
        folder = given.out / f"column-{number}"
        if not given.column or number in given.column:
            console.rule(column["title"])
            tell = lambda what, done: console.print(f"{done:4.0%} {what}", highlight=False)  # noqa: E731
            trainings = given.out / "trainings" if "federation" in plan else None
            audit(tables(plan, column), folder, trainings=trainings, progress=tell)
        yield column, folder if (folder / SUMMARY).exists() else None


def read_scores(folder: Path) -> pd.DataFrame:
    """Return every score of a run with the attack, the defence and the knowledge of its cell."""
    cells = pd.read_parquet(folder / "cells.parquet").rename(columns={"id": "cell"})
    return pd.read_parquet(folder / "scores.parquet").merge(cells[["cell", "attack", "defense", "knowledge"]])


def read_summary(folder: Path) -> Summary:
    """Return the summary of a run."""
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def tables(plan: Mapping[str, Any], column: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of one column."""
    made = {name: table for name, table in plan.items() if name != "column"}
    for name, table in column.items():
        if name not in OWN:
            made[name] = made.get(name, {}) | table if isinstance(table, Mapping) else table
    steps = column.get("steps", {})
    made["attack"] = [attack | _cut(attack, steps) for attack in made["attack"]]
    return made


def _cut(attack: Mapping[str, Any], steps: Mapping[str, int]) -> dict[str, int]:
    own = {"iterations": steps[attack["name"]]} if attack["name"] in steps else {}
    return {key: steps[key] for key in steps.keys() & attack.keys()} | own


def write(page: Path, parts: Sequence[str]) -> None:
    """Write a page."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    Console().print(f"page: {page}")


def mean_image(summary: Summary) -> str:
    """Return how well the guess that needs no attack does."""
    mean = summary["controls"]["negative"]["mean_image"]
    return f"The public mean image alone: {mean['psnr']:.1f} dB, SSIM {mean['ssim']:.2f}."


def changed(changes: Sequence[str]) -> str:
    """Return what the command line set otherwise, as a sentence for a page."""
    return f"Set otherwise than in the plan: {', '.join(changes)}. " if changes else ""
