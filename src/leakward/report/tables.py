"""Tables of the report: from checked results to rows of text, ready to print."""

from collections.abc import Iterable
from dataclasses import dataclass

from leakward.metrics import METRICS
from leakward.report.format import LEVELS, UNKNOWN, chance, duration, interval, measure, number, of, percent, title
from leakward.report.run import Run
from leakward.report.schema import CellResult, Control, DefenseResult, Estimate, UtilityResult

HEADLINE = ("identified", "rank", "ssim_gain", "psnr_gain", "ssim", "psnr")
NO_DEFENSE = "none"
UNDEFENDED = "No defence"


@dataclass(frozen=True)
class Entry:
    """One entry of a table.

    Attributes:
        text: What it says.
        note: A second, smaller line: an interval.
        kind: ``name`` for the head of a row, ``status`` for a verdict, ``number`` and ``words`` for the rest.
        rows: How many rows it spans.
    """

    text: str
    note: str = ""
    kind: str = "number"
    rows: int = 1


@dataclass(frozen=True)
class Table:
    """A captioned table; ``explain`` says under a column's head what it means."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]


def defense_title(defense: str) -> str:
    """Return a defence with its settings, as a reader calls it."""
    return UNDEFENDED if defense == NO_DEFENSE else defense


def level_title(level: str, defense: str) -> str:
    """Return who attacks; with no defence there is nothing to know of."""
    return "Any attacker" if defense == NO_DEFENSE else LEVELS.get(level, level)


def ordered_levels(result: DefenseResult) -> tuple[str, ...]:
    """Return the knowledge levels of a defence, least knowledge first."""
    return tuple(sorted(result.levels, key=lambda level: [*LEVELS, level].index(level)))


def defense_table(run: Run) -> Table:
    """Return leakage per defence and attacker, and what the public mean image scores without any attack."""
    results = run.summary.defenses
    metrics = _measured(estimates for result in results for estimates in result.levels.values())
    metrics = tuple(name for name in metrics if name in HEADLINE)
    rows = [row for result in results for row in _defense_rows(result, metrics)]
    control = _control_row(run.summary.controls.negative, metrics)
    head = ("Defence", "Verdict", "Attacker", *map(title, metrics), "Accuracy")
    return Table("Leakage and accuracy per defence, worst case per image over attacks", head, (*rows, control))


def _defense_rows(result: DefenseResult, metrics: tuple[str, ...]) -> Iterable[tuple[Entry, ...]]:
    """Return one row per knowledge level; name, verdict and accuracy span them."""
    span = max(1, len(result.levels))
    first = (
        Entry(defense_title(result.defense), f"{result.victims} images", "name", span),
        Entry(result.verdict.status, kind="status", rows=span),
    )
    last = (Entry(accuracy_of(result), rows=span),)
    if not result.levels:
        yield (*first, Entry(UNKNOWN, kind="words"), *(Entry("") for _ in metrics), *last)
    for place, level in enumerate(ordered_levels(result)):
        values = tuple(_entry(name, result.levels[level].get(name), result.victims) for name in metrics)
        who = Entry(level_title(level, result.defense), kind="words")
        yield (*(first if place == 0 else ()), who, *values, *(last if place == 0 else ()))


def _control_row(control: Control, metrics: tuple[str, ...]) -> tuple[Entry, ...]:
    """Return the row of the negative control: the same numbers with no attack at all."""
    rate = Entry(chance(control.chance), "by chance")
    known = {name: Entry(measure(name, control.mean_image.get(name))) for name in ("ssim", "psnr")}
    known |= {name: Entry(measure(name, 0.0), "by definition") for name in ("ssim_gain", "psnr_gain")}
    name = Entry("Public mean image, no attack", "negative control", "name")
    values = [rate if name == "identified" else known.get(name, Entry("–")) for name in metrics]
    return (name, Entry("–", kind="words"), Entry("Nobody", kind="words"), *values, Entry("–"))


def cell_table(cells: Iterable[CellResult]) -> Table:
    """Return every attack on its own: one row per defence, attack, knowledge level and seed."""
    cells = tuple(cells)
    metrics = _measured(cell.metrics for cell in cells)
    head = ("Defence", "Attack", "Attacker", "Model", "Training", "Seed", "Status", "Images")
    rows = [
        (
            Entry(defense_title(cell.defense), kind="name"),
            Entry(cell.attack, _winners(cell.members), "words"),
            *(Entry(text, kind="words") for text in (_attacker(cell), cell.model, _training(cell))),
            Entry(str(cell.seed)),
            Entry(cell.status, kind="words"),
            Entry(str(cell.victims)),
            *(_entry(name, cell.metrics.get(name), cell.victims) for name in metrics),
            Entry(number(cell.class_f1)),
            Entry(duration(cell.seconds)),
        )
        for cell in cells
    ]
    return Table("Every attack on its own", (*head, *map(title, metrics), "Class F1", "Time"), tuple(rows))


def _attacker(cell: CellResult) -> str:
    return cell.knowledge if cell.server == "honest" else f"{cell.server} server"


def _training(cell: CellResult) -> str:
    return f"{cell.recipe}, after {cell.after_rounds} rounds" if cell.after_rounds else cell.recipe


def _winners(members: tuple[str, ...]) -> str:
    """Return which attack of several won for which updates, counted from 1."""
    won = {name: [str(i) for i, one in enumerate(members, start=1) if one == name] for name in members if name}
    return "; ".join(f"{name} for {', '.join(numbers)}" for name, numbers in won.items())


def utility_table(run: Run) -> Table:
    """Return what each defence costs and, only where it is proven, what it guarantees."""
    trained = {row.defense: row for row in run.summary.utility}
    rows = [_utility_row(result, trained.get(result.defense)) for result in run.summary.defenses]
    head = ("Defence", "Accuracy", "Macro F1", "Rounds", "Clients", "Guarantee (ε, δ)")
    return Table("Accuracy of the trained model, and proven guarantees", head, tuple(rows))


def _utility_row(result: DefenseResult, trained: UtilityResult | None) -> tuple[Entry, ...]:
    """Return the row of one defence."""
    scale = (trained.rounds, trained.clients) if trained else (None, None)
    return (
        Entry(defense_title(result.defense), kind="name"),
        Entry(accuracy_of(result)),
        Entry(number(result.f1_macro)),
        *(Entry(number(value)) for value in scale),
        _guarantee(result),
    )


def accuracy_of(result: DefenseResult) -> str:
    """Return the accuracy, or that there is no model to have one."""
    return "diverged" if result.diverged else percent(result.accuracy)


def _guarantee(result: DefenseResult) -> Entry:
    """Return a proven guarantee and what it implies, or its absence."""
    if result.epsilon is None:
        return Entry("none proven", kind="words")
    implied = f"identified at most {percent(result.identified_bound)}" if result.identified_bound else ""
    note = "; ".join(part for part in (implied, result.accountant) if part)
    return Entry(f"ε = {number(result.epsilon)}, δ = {number(result.delta)}", note, "words")


def _entry(name: str, estimate: Estimate | None, images: int) -> Entry:
    """Return a mean with its interval; a yes-or-no measure as a count."""
    if estimate is None or estimate.mean is None:
        return Entry(UNKNOWN)
    binary = name in METRICS and METRICS[name].binary
    text = of(estimate.mean, images) if binary else measure(name, estimate.mean)
    return Entry(text, interval(name, estimate))


def _measured(tables: Iterable[dict[str, Estimate]]) -> tuple[str, ...]:
    """Return the metrics that occur, in the order of the registry, others last."""
    found = {name: None for table in tables for name in table}
    return (*(name for name in METRICS if name in found), *(name for name in found if name not in METRICS))
