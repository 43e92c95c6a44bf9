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
from leakward.report.run import Run, read_run, require_success
from leakward.report.schema import DefenseResult, Estimate
from leakward.report.tables import NO_DEFENSE
from leakward.streams import digest

SETTING = ["data", "model", "recipe", "trained", "setting"]
"""What has to be the same for two defences to be compared; ``setting`` stands for all numbers of the plan behind it."""
NUMBERS = ["victims", "identified", "identified_low", "identified_high", "ssim", "ssim_low", "ssim_high", "accuracy",
           "f1_macro", "epsilon"]  # fmt: skip
COLUMNS = [*SETTING, "defense", "attacks", "verdict", *NUMBERS, "leakward"]
KEY = ["setting", "defense", "attacks"]
"""A new result in these replaces an old one."""
OPEN = "inconclusive"
CELL = ("victims", "images", "seeds", "knowledge", "confidence")
"""Of ``[audit]``: how much was measured, not what."""
ENDS = (("mean", ""), ("low", "_low"), ("high", "_high"))
"""Parts of an interval, and how their columns end."""
FORMS = {"accuracy": "{:.3f}", "f1_macro": "{:.3f}", "epsilon": "{:.3g}", "victims": "{:.0f}"}
"""How the numbers after the intervals are written."""


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
    known[NUMBERS] = known[NUMBERS].astype(float)
    found = known.drop_duplicates(KEY, keep="last").sort_values([*SETTING, "defense"], ignore_index=True)
    table.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(table, index=False, float_format="%.6g")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(_read(table), cost), encoding="utf-8")
    return len(found)


def _read(table: Path) -> pd.DataFrame:
    try:
        found = pd.read_csv(table, dtype=str, keep_default_na=False)
        if list(found.columns) != COLUMNS:
            raise ValueError(f"the columns {', '.join(found.columns)}")
        numbers: Any = found[NUMBERS].replace("", "nan").astype(float)
    except (OSError, ValueError) as error:
        raise LeakwardError(f"{table}: expected the table of a leaderboard, got: {error}; name a run folder") from error
    return found.assign(**{name: numbers[name] for name in NUMBERS})


def _entries(run: Run) -> list[dict[str, Any]]:
    """Return one row for every defence that an attacker who knows it faced."""
    summary, plan = run.summary, run.plan.plan
    require_success(run)
    own = [cell for cell in summary.cells if cell.server == "honest"]
    common = {
        "data": _images(plan),
        "model": _named(plan["model"]),
        "recipe": next(cell.recipe for cell in own if cell.defense == NO_DEFENSE),
        "trained": _trained(plan),
        "setting": _setting(plan),
        "attacks": ", ".join(dict.fromkeys(cell.attack for cell in own)),
        "leakward": summary.leakward,
    }
    return [common | _numbers(result) for result in summary.defenses if "aware" in result.levels]


def _setting(plan: dict[str, Any]) -> str:
    """Return a digest of everything in a plan but attacks, defences, and how much is measured."""
    audit = {key: value for key, value in plan["audit"].items() if key not in CELL}
    data = {key: value for key, value in plan["data"].items() if key != "path"} | {"name": _images(plan)}
    training = "federation" if plan.get("federation") else "utility"
    return digest({**{name: plan[name] for name in ("model", "recipe", training)}, "data": data, "audit": audit})


def _images(plan: dict[str, Any]) -> str:
    """Return the name of the set of images, wherever it lies."""
    return Path(plan["data"]["name"]).stem


def _trained(plan: dict[str, Any]) -> str:
    """Return by whom the model was trained, and how long."""
    if federation := plan.get("federation"):
        drawn = f" of {federation['images']} images" if federation["images"] else ""
        return f"{plan['data']['clients']} clients, {federation['rounds']} rounds{drawn}"
    return f"one site, {plan['utility']['epochs']} epochs"


def _numbers(result: DefenseResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "defense": result.defense,
        "verdict": result.verdict.status,
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
    options = ", ".join(f"{key}={value}" for key, value in sorted(table.items()) if key != "name")
    return f"{table['name']}({options})" if options else str(table["name"])


def _page(table: pd.DataFrame, cost: float) -> str:
    head = f"""# Leaderboard

Defences by how many images an attacker who knows them may identify among those of the site, which is the upper end of
the 95 % interval, then by the upper end of the SSIM of what comes back; less is better. Of several attacks the one that
finds most counts. Only audits with the same data, model, recipe and training are compared. A defence has a place if its
model is at most {100 * cost:g} points less accurate than that of the undefended client and its audit was conclusive.
Made by `leakward leaderboard` from [leaderboard.csv](leaderboard.csv); [how to submit](submitting.md)."""
    groups: Any = table.groupby(SETTING, sort=True)
    return "\n\n".join([head, *(_section(setting, rows, cost) for setting, rows in groups)]) + "\n"


def _section(setting: Sequence[str], rows: Any, cost: float) -> str:
    data, model, recipe, trained, digested = setting
    leaks = ["identified_high", "ssim_high"]
    worst = rows.sort_values(leaks, na_position="first").drop_duplicates("defense", keep="last")
    bare = float(worst[worst["defense"] == NO_DEFENSE]["accuracy"].max())
    ordered = worst.sort_values([*leaks, "accuracy"], ascending=[True, True, False]).to_dict("records")
    placed = [row for row in ordered if row["defense"] != NO_DEFENSE and _ranks(row, bare, cost)]
    others = [row for row in ordered if row not in placed]
    head = ["place", "defence", "identified", "SSIM", "accuracy", "F1", "epsilon", "images", "attacks"]
    lines = [_line(str(place), row) for place, row in enumerate(placed, start=1)] + [_line("", row) for row in others]
    about = f"Trained by {trained}; setting `{digested}`."
    return f"## {data}, {model}, {recipe}\n\n{about}\n\n{markdown.table(head, lines)}"


def _ranks(row: dict[str, Any], bare: float, cost: float) -> bool:
    """Return whether a defence was measured, and costs little enough; what is not known does not count for it."""
    measured = row["verdict"] != OPEN and not pd.isna(row["identified_high"])
    return measured and bool(row["accuracy"] >= bare - cost)


def _line(place: str, row: dict[str, Any]) -> list[str]:
    intervals = [
        markdown.interval({key: _or_none(row[f"{name}{end}"]) for key, end in ENDS}, form)
        for name, form in (("identified", "{:.0%}"), ("ssim", "{:.2f}"))
    ]
    numbers = ["" if (value := _or_none(row[name])) is None else form.format(value) for name, form in FORMS.items()]
    return [place, row["defense"], *intervals, *numbers, row["attacks"]]


def _or_none(value: float) -> float | None:
    """Return a number of the table, or None where the table has none."""
    return None if pd.isna(value) else value
