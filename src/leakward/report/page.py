"""The page: one file that opens offline and fetches nothing."""

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leakward.report.figures import leakage_plot, plot_axes
from leakward.report.format import LEVELS, LOCAL, chance, is_path, measure, number, title, without_paths
from leakward.report.headline import cards, worst_case
from leakward.report.pictures import strips
from leakward.report.predicted import how_well
from leakward.report.run import Run, read_run
from leakward.report.tables import cell_table, defense_table, defense_title, utility_table


def build_report(run: Path, *, images: bool = True) -> Path:
    """Write ``report.html`` from the files of a finished run.

    The page is one file: figures, styles and images are inside, nothing is fetched. It replaces an older one at once
    or not at all.

    Args:
        run: The folder that ``leakward audit`` wrote.
        images: Whether to show private images and their reconstructions; without, no image is in the file.

    Returns:
        Where the page lies.

    Raises:
        LeakwardError: If a file of the run is missing or broken.
    """
    target = run / "report.html"
    _write(target, render(read_run(run), images=images))
    return target


def render(run: Run, *, images: bool) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=PackageLoader("leakward", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"defense": defense_title, "number": number}
    style = resources.files("leakward.report").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("template.html.j2").render(_context(run, images), style=Markup(style))


def _context(run: Run, images: bool) -> dict[str, Any]:
    """Return everything the template names."""
    summary, facts = run.summary, run.plan.facts
    axes = plot_axes(summary)
    return {
        "summary": summary,
        "facts": facts,
        "data": LOCAL if is_path(facts.data.name) else facts.data.name,
        "models": ", ".join(sorted({cell.model for cell in summary.cells})),
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in summary.cells}))),
        "worst": worst_case(summary.verdict.worst),
        "cards": cards(summary),
        "axes": axes,
        "metric": title(axes.metric) if axes else "",
        "diverged": [defense_title(result.defense) for result in summary.defenses if result.diverged],
        "plot": Markup(leakage_plot(summary, axes)) if axes else "",
        "images": images,
        "strips": strips(run) if images else (),
        "mean_image": _mean_image(run),
        "chance": chance(summary.controls.negative.chance),
        "by_defense": defense_table(run),
        "by_cell": cell_table(summary.cells),
        "predicted": how_well(run),
        "utility": utility_table(run),
        "levels": _levels(summary.threat),
        "plan": json.dumps(without_paths(run.plan.plan), indent=2, ensure_ascii=False),
    }


def _mean_image(run: Run) -> str:
    """Return what the public mean image scores with no attack, in words; nothing where it was not measured."""
    scores = run.summary.controls.negative.mean_image
    known = [name for name in ("psnr", "ssim") if scores.get(name) is not None]
    return " and ".join(f"{title(name)} {measure(name, scores[name])}" for name in known)


def _levels(threat: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return each knowledge level with its meaning, from whichever list of the threat model has them."""
    rows = [row for value in threat.values() if isinstance(value, list) for row in value if isinstance(row, dict)]
    named = [(str(row["level"]), str(row["meaning"])) for row in rows if {"level", "meaning"} <= row.keys()]
    return tuple((LEVELS.get(level, level), meaning) for level, meaning in named)


def _write(target: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
