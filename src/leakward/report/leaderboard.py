"""A leaderboard of defences, after RobustBench (Croce et al. 2021, arXiv:2010.09670): a table that audits add to.

Defences are compared where data, model and recipe are the same, by what an attacker who knows them identifies. A
defence has a place if it costs no more accuracy than allowed; the undefended client stands below for comparison.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from leakward.errors import LeakwardError
from leakward.report import markdown
from leakward.report.run import Run, read_run
from leakward.report.schema import DefenseResult, Estimate

SETTING = ["data", "model", "recipe"]
"""What has to be the same for two defences to be compared."""
OWN = ["defense", "attacks", "victims"]
NUMBERS = ["identified", "identified_low", "identified_high", "ssim", "ssim_low", "ssim_high", "accuracy", "f1_macro",
           "epsilon"]  # fmt: skip
COLUMNS = [*SETTING, *OWN, *NUMBERS, "trained", "leakward"]
KEY = [*SETTING, "defense", "attacks"]
"""A new result in these replaces an old one."""
NONE = "none"


def update_leaderboard(runs: Sequence[Path], table: Path, page: Path, *, cost: float = 0.05) -> int:
    """Add finished audits to the table, write the page from it, and return how many results the table holds.

    Args:
        runs: Run folders; may be none, to write the page anew.
        table: CSV file; made if it is not there and there are runs.
        page: Markdown file.
        cost: Accuracy that a defence may cost to have a place, in [0, 1].

    Raises:
        LeakwardError: If a run or the table is broken, an attack failed without a defence, or there is nothing to show.
    """
    if not 0 <= cost <= 1:
        raise LeakwardError(f"--cost: expected a share from 0 to 1, got {cost}")
    parts = [_read(table)] if table.exists() or not runs else []
    parts += [pd.DataFrame(_entries(read_run(run)), columns=COLUMNS) for run in runs]
    known = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    found = known.drop_duplicates(KEY, keep="last").sort_values([*SETTING, "defense"], ignore_index=True)
    table.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(table, index=False, float_format="%.6g")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(_read(table), cost), encoding="utf-8")
    return len(found)


def _read(table: Path) -> pd.DataFrame:
    try:
        found = pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise LeakwardError(f"{table}: expected the table of a leaderboard, got: {error}; name a run folder") from error
    if list(found.columns) != COLUMNS:
        raise LeakwardError(f"{table}: expected the columns {', '.join(COLUMNS)}, got {', '.join(found.columns)}")
    return found.astype(dict.fromkeys(NUMBERS, float))


def _entries(run: Run) -> list[dict[str, Any]]:
    """Return one row for every defence that an attacker who knows it faced."""
    summary, plan = run.summary, run.plan.plan
    if summary.controls.positive.passed is not True:
        raise LeakwardError(
            f"run {run.folder}: expected an attack that succeeds without a defence, got: "
            f"{summary.controls.positive.finding} Audit with stronger attacks"
        )
    cells, trained = summary.cells, {one.defense: one for one in summary.utility}
    common = {
        "data": Path(plan["data"]["name"]).stem,
        "model": _named(plan["model"]),
        "attacks": ", ".join(dict.fromkeys(cell.attack for cell in cells if cell.server == "honest")),
        "leakward": summary.leakward,
    }
    rows: list[dict[str, Any]] = []
    for result in summary.defenses:
        if "aware" not in result.levels:
            continue
        own = trained.get(result.defense)
        recipe = next(cell.recipe for cell in cells if cell.defense == result.defense)
        trained_by = f"{own.clients} clients, {own.rounds} rounds" if own else ""
        rows.append(common | {"recipe": recipe, **_numbers(result), "trained": trained_by})
    undefended = next(row["recipe"] for row in rows if row["defense"] == NONE)
    return [row | {"recipe": undefended} for row in rows]


def _numbers(result: DefenseResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "defense": result.defense,
        "victims": result.victims,
        "accuracy": result.accuracy,
        "f1_macro": result.f1_macro,
        "epsilon": result.epsilon,
    }
    for name in ("identified", "ssim"):
        estimate = result.levels["aware"].get(name, Estimate())
        found |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return found


def _named(table: dict[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in table.items() if key != "name")
    return f"{table['name']}({options})" if options else str(table["name"])


def _page(table: pd.DataFrame, cost: float) -> str:
    head = f"""# Leaderboard

Defences by how many images an attacker who knows them identifies among those of the site, with a 95 % interval, then by
the SSIM of what comes back; less is better. Only audits with the same data, model and recipe are compared. A defence
has a place if its model is at most {100 * cost:g} points less accurate than that of the undefended client. Made by
`leakward leaderboard` from [leaderboard.csv](leaderboard.csv); [how to submit](submitting.md)."""
    groups: Any = table.groupby(SETTING, sort=True)
    return "\n\n".join([head, *(_section(setting, rows, cost) for setting, rows in groups)]) + "\n"


def _section(setting: tuple[str, str, str], rows: Any, cost: float) -> str:
    data, model, recipe = setting
    bare = rows[rows["defense"] == NONE]["accuracy"].max()
    ordered = rows.sort_values(["identified", "ssim", "accuracy"], ascending=[True, True, False]).to_dict("records")
    placed = [row for row in ordered if row["defense"] != NONE and _affordable(row, bare, cost)]
    others = [row for row in ordered if row not in placed]
    head = ["place", "defence", "identified", "SSIM", "accuracy", "F1", "epsilon", "images", "attacks"]
    lines = [_line(str(place), row) for place, row in enumerate(placed, start=1)] + [_line("", row) for row in others]
    trained = " or ".join(sorted(set(rows["trained"].dropna())))
    words = f"Accuracy and F1 are of {trained}.\n\n" if trained else ""
    return f"## {data}, {model}, {recipe}\n\n{words}{markdown.table(head, lines)}"


def _affordable(row: dict[str, Any], bare: float, cost: float) -> bool:
    """Return whether a defence costs little enough; one whose accuracy is not known does not."""
    return bool(row["accuracy"] >= bare - cost)


def _line(place: str, row: dict[str, Any]) -> list[str]:
    intervals = [
        markdown.interval({key: _or_none(row[f"{name}{end}"]) for key, end in ENDS}, form)
        for name, form in (("identified", "{:.0%}"), ("ssim", "{:.2f}"))
    ]
    numbers = ["" if (value := _or_none(row[name])) is None else form.format(value) for name, form in FORMS.items()]
    return [place, row["defense"], *intervals, *numbers, str(row["victims"]), row["attacks"]]


ENDS = (("mean", ""), ("low", "_low"), ("high", "_high"))
FORMS = {"accuracy": "{:.3f}", "f1_macro": "{:.3f}", "epsilon": "{:.3g}"}


def _or_none(value: float) -> float | None:
    """Return a number of the table, or None where the table has none."""
    return None if pd.isna(value) else float(value)
