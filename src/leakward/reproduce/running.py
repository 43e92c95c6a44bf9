"""``reproduce``: run the plans of a paper, keep what they found, and write the page."""

from collections.abc import Callable
from pathlib import Path

from leakward.auditing import audit, make_plan
from leakward.report import markdown
from leakward.reproduce.figures import require_matplotlib
from leakward.reproduce.made import Made, load_made, look
from leakward.reproduce.paper import Claim, Paper, Scale
from leakward.reproduce.results import collect, load_results


def reproduce(
    paper: Paper,
    scale: Scale,
    out: Path,
    pages: Path,
    *,
    device: str = "cpu",
    progress: Callable[[str, float], None] = lambda _, __: None,
) -> Path:
    """Run what has not been run of a paper's plans, and return the page.

    Args:
        paper: To reproduce.
        scale: At which size.
        out: Where the audits are kept; the same folder goes on where it stopped.
        pages: Where the page goes, with a folder of the paper's name that holds figures and tables.
        device: ``cpu`` or ``cuda``.
        progress: Called with what is being done and the fraction of all that is done, in [0, 1].

    Raises:
        LeakwardError: If something is wrong that the user can mend; the message is one sentence.
    """
    require_matplotlib()  # which the page needs at the end
    plans = {name: make_plan(tables) for name, tables in paper.parts(scale).items()}
    root = out / f"{paper.name}-{scale}"
    runs, trainings = {name: root / name for name in plans}, root / "trainings" if paper.shared_trainings else None
    for place, (name, plan) in enumerate(plans.items()):

        def tell(what: str, done: float, name: str = name, place: int = place) -> None:
            progress(f"{name}: {what}", (place + done) / len(plans))

        audit(plan, runs[name], trainings=trainings, device=device, progress=tell)
    results = collect(runs, {name: plan.audit.victims for name, plan in plans.items()}, paper.metrics)
    results.save(pages / paper.name)
    look(scale, runs.values(), results.cells).save(pages / paper.name)
    paper.keep(runs, pages / paper.name)
    return write_page(paper, pages)


def write_page(paper: Paper, pages: Path) -> Path:
    """Write the page and its figures from the tables in the folder beside it.

    Raises:
        LeakwardError: If one of them is missing or broken.
    """
    folder = pages / paper.name
    results, made = load_results(folder), load_made(folder)
    page = pages / f"{paper.name}.md"
    sections = {
        "What differs, and what is not known": _bullets(paper.differences(made.scale)),
        "The claims of the abstract": _claims(paper.claims(results)),
        **paper.sections(results, folder),
    }
    parts = [f"# {paper.title}", _about(paper, made), *(f"## {title}\n\n{text}" for title, text in sections.items())]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _about(paper: Paper, made: Made) -> str:
    return (
        f"{paper.source}, reproduced by `leakward reproduce {paper.name} --scale {made.scale}` with Leakward "
        f"{made.leakward} and PyTorch {made.torch} on {made.finished} ({made.machine}); all attacks together took "
        f"{made.hours:.1f} hours. Intervals are 95 % bootstrap intervals over updates. Every number of this page is in "
        f"the tables of [its folder]({paper.name}/)."
    )


def _bullets(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _claims(claims: tuple[Claim, ...]) -> str:
    return markdown.table(("claim", "here", "why"), [(one.words, f"**{one.outcome}**", one.reason) for one in claims])
