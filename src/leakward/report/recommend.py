"""Which defence to choose: leakage against accuracy over the results of an audit."""

from dataclasses import dataclass
from pathlib import Path

from leakward.auditing.plan import make_plan
from leakward.errors import LeakwardError
from leakward.federated import Defense, LocalTraining
from leakward.parts import label
from leakward.report.format import percent
from leakward.report.run import read_run, require_success
from leakward.report.schema import DefenseResult


@dataclass(frozen=True)
class Choice:
    """One defence of the audit.

    Attributes:
        defense: Its label.
        found: Share of images that an attacker who knows it identified, in [0, 1].
        leak: Upper end of that share's interval: what the audit cannot rule out.
        accuracy: Of the model trained with it, in [0, 1]; None where it was not measured.
        best: Whether no other defence has both less leak and more accuracy: it is on the Pareto front.
        meets: Whether it meets the wish.
        diverged: Whether training with it gave no model.
    """

    defense: str
    found: float
    leak: float
    accuracy: float | None
    best: bool
    meets: bool
    diverged: bool = False


@dataclass(frozen=True)
class Recommendation:
    """The answer to a wish.

    Attributes:
        choices: Every defence of the audit, in its order.
        chosen: The most accurate of those that meet the wish; None if none does.
        reason: In a sentence.
        defense: That was chosen; None where none or no defence is.
        recipe: Of the audit.
    """

    choices: tuple[Choice, ...]
    chosen: Choice | None
    reason: str
    defense: Defense | None
    recipe: LocalTraining


def recommend(run: Path, max_leak: float, min_accuracy: float = 0.0) -> Recommendation:
    """Choose a defence by what an audit found at the aware level.

    Args:
        run: Folder of a finished audit.
        max_leak: Largest share of images that may be identified, in [0, 1]; the upper end of the interval counts.
        min_accuracy: Smallest accuracy, in [0, 1]; above 0, a defence whose accuracy was not measured does not do.

    Raises:
        LeakwardError: If the run is broken, a wish is not in [0, 1], or the undefended client did not leak.
    """
    for name, value in (("--max-leak", max_leak), ("--min-accuracy", min_accuracy)):
        if not 0 <= value <= 1:
            raise LeakwardError(f"{name}: expected a share from 0 to 1, got {value}")
    read = read_run(run)
    require_success(read)
    results = [result for result in read.summary.defenses if _leak(result) is not None]
    choices = tuple(_choice(result, results, max_leak, min_accuracy) for result in results)
    fitting = [choice for choice in choices if choice.meets]
    plan = make_plan(read.plan.plan)
    if not fitting:
        return Recommendation(choices, None, _none(choices, max_leak, min_accuracy), None, plan.recipe)
    chosen = max(fitting, key=lambda choice: (choice.accuracy or 0.0, -choice.leak))
    named = {label("defenses", one): one for one in plan.defenses}
    defense = None if chosen.defense == "none" else named[chosen.defense]
    reason = f"{chosen.defense}: at most {percent(chosen.leak)} identified, accuracy {percent(chosen.accuracy)}."
    return Recommendation(choices, chosen, reason, defense, plan.recipe)


def _leak(result: DefenseResult) -> float | None:
    """Return the upper end of the share identified by an attacker who knows the defence."""
    found = result.levels.get("aware", {}).get("identified")
    return None if found is None else found.mean if found.high is None else found.high


def _choice(result: DefenseResult, others: list[DefenseResult], max_leak: float, min_accuracy: float) -> Choice:
    leak, accuracy = _known(result)
    beaten = any(
        other_leak <= leak and other_accuracy >= accuracy and (other_leak, other_accuracy) != (leak, accuracy)
        for other_leak, other_accuracy in map(_known, others)
    )
    measured = result.accuracy is not None or min_accuracy == 0
    meets = leak <= max_leak and accuracy >= min_accuracy and measured and not result.diverged
    found = result.levels["aware"]["identified"].mean
    best = not beaten and not result.diverged
    return Choice(result.defense, leak if found is None else found, leak, result.accuracy, best, meets, result.diverged)


def _known(result: DefenseResult) -> tuple[float, float]:
    """Return leak and accuracy, which is 0 where it was not measured."""
    leak = _leak(result)
    assert leak is not None  # such results were left out
    return leak, result.accuracy or 0.0


def _none(choices: tuple[Choice, ...], max_leak: float, min_accuracy: float) -> str:
    if not choices:
        return "None does: the audit attacked no defence at the aware level."
    least = min(choices, key=lambda choice: (choice.diverged, choice.leak))
    hint = "more victims would narrow the interval" if least.found <= max_leak < least.leak else "try other defences"
    wish = f"at most {percent(max_leak)} identified at an accuracy of at least {percent(min_accuracy)}"
    return (
        f"None does: {wish} was asked; the least leak is that of {least.defense}, {percent(least.found)} found and up "
        f"to {percent(least.leak)} not ruled out, at an accuracy of {percent(least.accuracy)}; {hint}."
    )
