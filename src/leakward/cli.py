"""The command line. Heavy imports happen inside the commands, so that ``--help`` answers at once."""

import os
import sys
import textwrap
import tomllib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from leakward import registry
from leakward.errors import LeakwardError

if TYPE_CHECKING:
    from leakward.linting import Finding

LEAKS = 3
"""Exit code of ``--fail-on leak`` when the verdict is ``leaks``."""
NONE_FITS = 4
"""Exit code of ``leakward recommend`` when no defence meets the wish."""
PROBLEMS = 3
"""Exit code of ``leakward lint`` when there are problems."""
STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    help="What would the updates your site sends reveal about its images, what stops it, and what does that cost?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
prior_app = typer.Typer(help="Generative priors of attackers who hold public images.", no_args_is_help=True)
app.add_typer(prior_app, name="prior")
out = Console()
err = Console(stderr=True)

Data = Annotated[str | None, typer.Option(help="Name of a data set, or path of an .npz or image folder.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one value of the plan, as in audit.victims=4.")]
Out = Annotated[Path, typer.Option("--out", help="Run folder; an interrupted run in it goes on.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
NoImages = Annotated[bool, typer.Option("--no-images", help="Keep every patient image out of the report.")]


def main() -> None:
    """Run the command line; an error the user can act on is one sentence and exit code 1."""
    try:
        app()
    except LeakwardError as error:
        err.print(f"[bold red]error:[/] {_escaped(str(error))}", soft_wrap=True)
        sys.exit(1)


@app.command()
def audit(
    plan: Annotated[Path | None, typer.Argument(help="Plan file (TOML); the built-in quick plan if left out.")] = None,
    data: Data = None,
    folder: Out = Path("runs/audit"),
    device: Device = "cpu",
    changes: Set = None,
    no_images: NoImages = False,
    fail_on: Annotated[str | None, typer.Option(help="'leak': exit with 3 if the verdict is leaks.")] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster to run on, such as auto.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Measure what it will take; run nothing.")] = False,
) -> None:
    """Attack your own updates, with and without defences, and write a report."""
    if fail_on not in (None, "leak"):
        raise typer.BadParameter(f"expected 'leak', got {fail_on!r}", param_hint="--fail-on")
    if estimate and ray is not None:
        raise typer.BadParameter("expected none beside --estimate, which measures this machine", param_hint="--ray")
    from leakward.auditing import audit as run
    from leakward.auditing import make_plan, quick_plan, read_plan
    from leakward.report import build_report

    tables = quick_plan() if plan is None else read_plan(plan)
    _change(tables, data, changes)
    if no_images:
        _apply(tables, "audit.images=false")
    if estimate:
        _estimate(tables, folder, device)
        return
    with _progress("stopped; the same command goes on where it stopped") as progress:
        run(make_plan(tables), folder, device=device, ray=ray, progress=progress)
    page = build_report(folder, images=not no_images)
    status = _show(folder)
    out.print(f"report: {page}", soft_wrap=True)
    if fail_on == "leak" and status == "leaks":
        raise typer.Exit(LEAKS)


@app.command()
def federated(
    plan: Annotated[Path, typer.Argument(help="Plan file (TOML) with a table [federation].")],
    data: Data = None,
    folder: Out = Path("runs/federated"),
    changes: Set = None,
) -> None:
    """Train the plan's model on all clients of a simulated federation, with and without defences."""
    from leakward.auditing import make_plan, read_plan
    from leakward.auditing.federation import federate

    tables = read_plan(plan)
    _change(tables, data, changes)
    try:
        with _progress("stopped; the same command goes on with the trainings that are missing") as progress:
            federate(make_plan(tables), folder, progress=progress)
    except typer.Exit as stopped:
        os._exit(stopped.exit_code)  # threads of the engine would wait for ever for clients that are no more
    _show_federated(folder)
    out.print(f"rounds: {folder / 'rounds.parquet'}", soft_wrap=True)


@app.command()
def attack(
    capture: Annotated[Path, typer.Argument(help="Folder of a captured update.")],
    name: Annotated[str, typer.Option("--attack", help="See 'leakward list attacks'.")] = "inverting-gradients",
    folder: Out = Path("runs/attack"),
    device: Device = "cpu",
    changes: Annotated[list[str] | None, typer.Option("--set", help="Of the attack, as in iterations=500.")] = None,
    seed: Annotated[int, typer.Option(help="Of the attacker's randomness.")] = 0,
    public: Annotated[str | None, typer.Option(help="Data set whose public images the attacker holds.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Private batch of the site, to score what comes out.")] = None,
) -> None:
    """Attack a captured update and write what comes out as pictures."""
    from leakward.captured import attack_capture
    from leakward.live import load_private_batch, shown

    private = None if truth is None else load_private_batch(truth)
    settings: dict[str, Any] = {}
    for change in changes or []:
        _apply(settings, change)
    with _progress("stopped; nothing was written") as progress:
        result = attack_capture(
            capture, name, settings, folder, device=device, seed=seed, public=public, progress=progress
        )
    out.print(f"{name}: {result.status}, objective {result.objective:.3g}, {result.evaluations} evaluations")
    out.print(f"pictures: {folder}", soft_wrap=True)
    if private is not None and result.images is not None:
        found = shown(result.images, private)
        count = f"{round(found.identified * found.images)} of {found.images}"
        out.print(f"identified: {count} among {found.among} images of the site")
        out.print(f"mean SSIM {found.ssim:.2f}, PSNR {found.psnr:.1f} dB")


@app.command()
def ledger(file: Annotated[Path, typer.Argument(help="Ledger of a site in a live federation.")]) -> None:
    """Say what left a site, client by client, and what it adds up to."""
    from leakward.live import Ledger, accounts

    if not file.is_file():
        raise LeakwardError(f"ledger {file}: expected a file, got nothing there; it is made with the first message")
    columns = ("sent", "withheld", "epsilon", "delta", "worst identified", "last withheld because")
    table = Table(Column("client", no_wrap=True), *columns, box=None, padding=(0, 1, 0, 0))
    for account in accounts(Ledger(file).entries()):
        epsilon = "none" if account.epsilon is None else f"{account.epsilon:.3g}"
        identified = "not judged" if account.identified is None else f"{account.identified:.0%}"
        counts = f"{account.sent}", f"{account.withheld}", epsilon, f"{account.delta:g}", identified
        table.add_row(account.client, *counts, _escaped(account.reason))
    out.print(table)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder of an audit.")],
    no_images: NoImages = False,
) -> None:
    """Rebuild the report of a finished audit."""
    from leakward.report import build_report

    out.print(f"report: {build_report(run, images=not no_images)}", soft_wrap=True)


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(help="learnable-perturbation, medpfl or shadow.")],
    scale: Annotated[str, typer.Option(help="quick: minutes; cpu: about 90 minutes; paper: for a GPU.")] = "cpu",
    folder: Annotated[Path, typer.Option("--out", help="Where the audits are kept.")] = Path("runs/reproduce"),
    pages: Annotated[Path | None, typer.Option(help="Where the page goes; beside the audits if left out.")] = None,
    page_only: Annotated[bool, typer.Option(help="Write the page again from the tables that are there.")] = False,
    device: Device = "cpu",
) -> None:
    """Run the experiments of a paper again, and write a page with its figures and ours."""
    from leakward.reproduce import PAPERS, Scale, write_page
    from leakward.reproduce import reproduce as run

    chosen = _one_of(paper, PAPERS, "PAPER")
    size = cast(Scale, _one_of(scale, get_args(Scale), "--scale"))
    pages = folder / f"{paper}-{scale}" if pages is None else pages
    if page_only:
        page = write_page(PAPERS[chosen], pages)
    else:
        with _progress(f"stopped; the same command goes on from {folder}") as progress:
            page = run(PAPERS[chosen], size, folder, pages, device=device, progress=progress)
    out.print(f"page: {page}", soft_wrap=True)


@app.command()
def recommend(
    run: Annotated[Path, typer.Argument(help="Run folder of an audit.")],
    max_leak: Annotated[float, typer.Option(help="Largest share of images that may be identified, 0 to 1.")],
    min_accuracy: Annotated[float, typer.Option(help="Smallest accuracy, 0 to 1.")] = 0.0,
) -> None:
    """Choose a defence by what an audit found: the most accurate one that leaks little enough."""
    from leakward.integrations.settings import written_out
    from leakward.report import recommend as choose

    found = choose(run, max_leak, min_accuracy)
    table = Table(Column("defence", no_wrap=True), "identified", "not ruled out", "accuracy", "", box=None)
    for choice in found.choices:
        accuracy = _accuracy(choice.accuracy, choice.diverged)
        notes = ", ".join(["meets the wish"] * choice.meets + ["on the front"] * choice.best)
        table.add_row(_escaped(choice.defense), f"{choice.found:.0%}", f"{choice.leak:.0%}", accuracy, notes)
    out.print(table)
    out.print(_escaped(found.reason), soft_wrap=True)
    if found.defense is not None:
        for title, text in written_out(found.defense, found.recipe).items():
            out.print(f"\n[bold]{title}[/]")
            out.print(_escaped(text), soft_wrap=True, highlight=False)
    if found.chosen is None:
        raise typer.Exit(NONE_FITS)


@app.command()
def leaderboard(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders of audits to add.")] = None,
    table: Annotated[Path, typer.Option(help="CSV file with all results.")] = Path("docs/leaderboard.csv"),
    page: Annotated[Path, typer.Option(help="Page to write from it.")] = Path("docs/leaderboard.md"),
    cost: Annotated[float, typer.Option(help="Accuracy that a defence may cost to have a place, 0 to 1.")] = 0.05,
) -> None:
    """Rank defences by what attackers who know them identify, over all audits added so far."""
    from leakward.report import update_leaderboard

    count = update_leaderboard(runs or [], table, page, cost=cost)
    out.print(f"{count} results in {table}; page: {page}", soft_wrap=True)


@app.command(name="list")
def list_names(family: Annotated[str, typer.Argument(help="attacks, defenses, data, models or metrics.")]) -> None:
    """List what a plan can name."""
    family = cast(registry.Family, _one_of(family, get_args(registry.Family), "family"))
    table = Table(Column("name", no_wrap=True), "what it is", box=None)
    for name in registry.names(family):
        found = registry.load(family, name)
        words = getattr(found, "description", None) or (found.__doc__ or "").strip().splitlines()[0]
        paper = getattr(found, "paper", "")
        table.add_row(name, _escaped(f"{words} ({paper})" if paper else words))
        if family == "attacks":
            table.add_row("", f"[dim]{_escaped(_demands(found))}[/]", end_section=True)
    out.print(table)


@app.command()
def doctor(capture: Annotated[Path, typer.Argument(help="Folder of a captured update.")]) -> None:
    """Check that update, state, mode and loss of a capture belong together."""
    from leakward.threat import examine, load_capture

    checks = examine(load_capture(capture))
    table = Table("check", "result", "finding", box=None)
    for check in checks:
        table.add_row(check.name, {True: "pass", False: "FAIL", None: "open"}[check.passed], _escaped(check.finding))
    out.print(table)
    if any(check.passed is False for check in checks):
        raise typer.Exit(1)


@app.command()
def lint(
    path: Annotated[Path, typer.Argument(help="Folder of a Flower app, a FLARE job or a FLARE site, or one .py file.")],
) -> None:
    """Look for known privacy traps in an app, a job or a site, which are read and not run."""
    from leakward.linting import lint as run

    found = run(path)
    folder = path if path.is_dir() else path.parent
    for level, rule in dict.fromkeys((each.level, each.rule) for each in found):
        _show_findings(level, [each for each in found if (each.level, each.rule) == (level, rule)], folder)
    counts = {level: sum(each.level == level for each in found) for level in ("problem", "remark")}
    parts = [f"{count} {level}{'s' * (count > 1)}" for level, count in counts.items() if count]
    out.print(
        ", ".join(parts) or "nothing found; a reader of files cannot see what happens at run time", soft_wrap=True
    )
    if counts["problem"]:
        raise typer.Exit(PROBLEMS)


@prior_app.command("train")
def prior_train(
    data: Annotated[str, typer.Option(help="Name of a data set, or path of an .npz or image folder.")],
    file: Annotated[Path, typer.Option("--out", help="File to write the prior to.")],
    size: Annotated[int | None, typer.Option(help="Height and width, where the source can choose.")] = None,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    iterations: Annotated[int | None, typer.Option(help="Steps of the training.")] = None,
) -> None:
    """Train a prior on the public images of a data set, none of which an audit attacks."""
    from leakward.data import load_data
    from leakward.generators import PriorSettings, Source, save_prior, train_prior
    from leakward.types import generator

    settings = PriorSettings() if iterations is None else PriorSettings(iterations=iterations)
    if not file.parent.is_dir() or file.is_dir():
        raise LeakwardError(f"--out {file}: expected a file in a folder that exists; choose another")
    found = load_data(data, size=size)
    images, _ = found.subset("val")
    source = Source(found.name, "val", found.licence, seed)
    with _progress("stopped; nothing was written") as progress:
        prior = train_prior(images, settings, generator(seed), lambda done: progress("training", done), source)
    save_prior(prior, file)
    quality = prior.card.quality
    split = "split val; audits attack images of the split train"
    out.print(f"{len(images)} public images of {_escaped(found.name)} ({split})", soft_wrap=True)
    out.print(f"held-out images: {quality.held_out_psnr:.1f} dB; the mean image: {quality.mean_image_psnr:.1f} dB")
    out.print(f"samples are {quality.spread:.2f} times as varied as the images")
    out.print(f"prior: {file}", soft_wrap=True)


def _one_of(given: str, allowed: Iterable[str], place: str) -> str:
    """Return what was given, if it is allowed."""
    if given not in allowed:
        raise typer.BadParameter(f"expected one of {', '.join(allowed)}, got {given!r}", param_hint=place)
    return given


def _demands(attack: Any) -> str:
    """Say what an attack asks of the attacker, which messages it works on, and what it costs."""
    words = {"update": "message", "state": "weights before it", "public": "public images", "labels": "labels"}
    held = [words[need] for need in attack.needs] + ["a model of its own, sent out"] * attack.active
    held += ["public images or a saved prior"] * (getattr(attack, "prior", None) is not None)
    return f"holds: {', '.join(held)}; from: {' or '.join(attack.shares)}; cost: {attack.cost}"


def _change(tables: dict[str, Any], data: str | None, changes: list[str] | None) -> None:
    """Let the options of the command line change the plan."""
    if data is not None:
        _apply(tables, "data.path=")
        tables["data"].pop("path")  # it belongs to the data that the plan names
        tables["data"]["name"] = data
    for change in changes or []:
        _apply(tables, change)


def _apply(tables: dict[str, Any], change: str) -> None:
    """Set one value, such as ``audit.victims=4`` or ``attack.0.iterations=100``."""
    path, separator, text = change.partition("=")
    if not separator or not path:
        raise LeakwardError(f"--set {change}: expected key=value, as in audit.victims=4")
    *parents, key = path.split(".")
    place: Any = tables
    for parent in parents:
        place = _child(place, parent, change)
    if isinstance(place, list):
        raise LeakwardError(f"--set {change}: expected a key of one table, as in attack.0.iterations=100")
    place[key] = _value(text)


def _child(place: Any, key: str, change: str) -> Any:
    if isinstance(place, list):
        if not place:
            raise LeakwardError(f"--set {change}: the plan has no such tables; add them to the plan")
        if not key.isdecimal() or int(key) >= len(place):
            raise LeakwardError(f"--set {change}: expected a number from 0 to {len(place) - 1}, got {key!r}")
        return place[int(key)]
    if not isinstance(place.setdefault(key, {}), dict | list):
        raise LeakwardError(f"--set {change}: {key!r} is a value, not a table")
    return place[key]


def _value(text: str) -> object:
    """Read a TOML value; what is none is a plain word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@contextmanager
def _progress(stopped: str) -> Generator[Callable[[str, float], None]]:
    """Show one live bar on a terminal; elsewhere one line per step. After Ctrl-C, say what became of the work."""
    percent, what = TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}")
    columns = (BarColumn(), percent, TimeElapsedColumn(), what)
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        last = [""]

        def update(what: str, fraction: float) -> None:
            bar.update(task, completed=fraction, description=what)
            if not err.is_terminal and what != last[0]:
                last[0] = what
                err.print(f"{fraction:4.0%} {what}", markup=False, highlight=False, soft_wrap=True)

        try:
            yield update
        except KeyboardInterrupt:
            err.print(stopped)
            raise typer.Exit(STOPPED) from None


def _estimate(tables: dict[str, Any], folder: Path, device: str) -> None:
    """Measure what an audit will take, and print it."""
    from leakward.auditing import estimate, make_plan

    with _progress("stopped; nothing was written") as progress:
        found = estimate(make_plan(tables), folder, device=device, progress=progress)
    numbers = (Column(name, justify="right", no_wrap=True) for name in ("times", "evaluations", "minutes", "MiB"))
    table = Table(Column("part", overflow="fold"), *numbers, box=None, padding=(0, 1, 0, 0))
    for one in found.forecasts:
        minutes = f"{one.seconds / 60:.1f}"
        table.add_row(_escaped(one.what), f"{one.parts}", f"{one.evaluations:,}", minutes, f"{one.mib:,.0f}")
    out.print(table)
    side_by_side = f"{found.processes} process{'es' * (found.processes > 1)}"
    out.print(
        f"[bold]{found.seconds / 60:.1f} minutes of computing, {found.wait / 60:.1f} minutes with {side_by_side}[/]; "
        "measured by some steps of each part: other work on the machine adds to it, attacks that are done early take "
        "from it",
        soft_wrap=True,
    )


def _show(run: Path) -> str:
    """Print the result table and the verdict; return its status."""
    import json

    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    columns = ("attacker", "identified", "SSIM gain", "PSNR", "accuracy", "epsilon")
    table = Table(Column("defence", no_wrap=True), *columns, box=None, padding=(0, 1, 0, 0))
    for defense in summary["defenses"]:
        for level, metrics in defense["levels"].items():
            images = defense["victims"]
            table.add_row(
                _escaped(defense["defense"]),
                level,
                f"{round(metrics['identified']['mean'] * images)} of {images}",
                f"{metrics['ssim_gain']['mean']:+.2f}",
                f"{metrics['psnr']['mean']:.1f}",
                _accuracy(defense["accuracy"], defense["diverged"]),
                "none" if defense["epsilon"] is None else f"{defense['epsilon']:.3g}",
            )
    out.print(table)
    verdict = summary["verdict"]
    out.print(f"[bold]verdict: {verdict['status']}[/] - {_escaped(verdict['reason'])}", soft_wrap=True)
    return verdict["status"]


def _accuracy(value: float | None, diverged: bool) -> str:
    return "diverged" if diverged else "not measured" if value is None else f"{value:.3f}"


def _show_federated(run: Path) -> None:
    """Print the last round of every training, with time and bytes of all its rounds, and epsilon of every client."""
    import pandas as pd

    rounds, clients = (pd.read_parquet(run / f"{name}.parquet") for name in ("rounds", "clients"))
    proven = {key: own.tolist() for key, own in clients.groupby(["defense", "seed"])["epsilon"]}
    names = ("seed", "rounds", "accuracy", "F1", "AUC", "epsilon", "minutes", "MB", "lost")
    numbers = (Column(name, no_wrap=True) for name in names)  # a narrow terminal folds the names of defences instead
    table = Table(Column("defence", overflow="fold"), *numbers, box=None, padding=(0, 1, 0, 0))
    for key, found in rounds.groupby(["defense", "seed"], sort=False):
        defense, seed = cast(tuple[str, int], key)
        last, total = found.iloc[-1], found.sum(numeric_only=True)
        scores = (_accuracy(last[name], pd.isna(last[name])) for name in ("accuracy", "f1_macro", "auc"))
        spent = f"{total['seconds'] / 60:.1f}", f"{(total['bytes_down'] + total['bytes_up']) / 1e6:.1f}"
        epsilon = f"{max(proven[key]):.3g}" if key in proven else "none"
        row = f"{seed}", f"{len(found)}", *scores, epsilon, *spent, f"{total['lost']:.0f}"
        table.add_row(_escaped(defense), *row)
    out.print(table)
    if proven:
        _show_epsilons(proven, f"epsilon of one image of each client, at delta = {clients['delta'].max():g}")


def _show_epsilons(proven: dict[Any, list[float]], title: str) -> None:
    """Print epsilon of every client in the order of their numbers; the table of results has the largest."""
    table = Table("defence", "seed", title, box=None, padding=(0, 1, 0, 0))
    for (defense, seed), epsilons in proven.items():
        table.add_row(_escaped(defense), f"{seed}", ", ".join(f"{epsilon:.3g}" for epsilon in epsilons))
    out.print(table)


def _show_findings(level: str, found: "Sequence[Finding]", folder: Path) -> None:
    """Print all places of one trap, its reason and its cure."""
    out.print(f"[bold]{level}: {found[0].rule}[/]", highlight=False)
    for each in found:
        where = f"  {_plain(str(folder / each.path))}:{each.line}"
        out.print(where, markup=False, highlight=False, soft_wrap=True)
        _show_wrapped("    ", _plain(each.found))
    _show_wrapped("  why: ", found[0].reason)
    _show_wrapped("  cure: ", found[0].cure)
    out.print()


def _show_wrapped(begin: str, text: str) -> None:
    """Print a paragraph within the terminal, its later lines below where the text begins."""
    later = " " * len(begin)
    wrapped = textwrap.fill(text, out.width, initial_indent=begin, subsequent_indent=later, break_on_hyphens=False)
    out.print(wrapped, markup=False, highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Return text of unknown origin without characters that would steer the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
