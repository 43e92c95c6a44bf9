"""The few numbers on top of the page."""

from dataclasses import dataclass

from leakward.report.format import chance, interval, measure, of, title
from leakward.report.schema import DefenseResult, Estimate, Summary, Worst
from leakward.report.tables import NO_DEFENSE, accuracy_of, defense_title

LEVEL = "aware"
"""Only what the aware attacker fails to recover may be called protected."""


@dataclass(frozen=True)
class Figure:
    """One number of a card, and whose it is."""

    whose: str
    text: str
    note: str


@dataclass(frozen=True)
class Card:
    """A question and its numbers: without a defence, and with the defence that leaks most."""

    heading: str
    figures: tuple[Figure, ...]
    note: str


def cards(summary: Summary) -> tuple[Card, ...]:
    """Return the headline cards."""
    shown = _shown(summary)
    odds = summary.controls.negative.chance
    luck = f"By chance: {chance(odds)} per image." if odds else ""
    return (
        Card("Patients' images identified", tuple(map(_identified, shown)), luck),
        Card(
            "SSIM gained from the update, worst image",
            tuple(map(_gain, shown)),
            "0 means no better than a public mean image; 1 would be a perfect copy at most.",
        ),
        Card("Accuracy of the trained model", tuple(map(_accuracy, shown)), _cost(shown)),
    )


def worst_case(worst: Worst) -> str:
    """Return the number behind the verdict in a sentence, or nothing where there is none."""
    if worst.metric is None or worst.value is None or worst.defense is None:
        return ""
    spread = interval(worst.metric, Estimate(low=worst.low, high=worst.high))
    where = "without a defence" if worst.defense == NO_DEFENSE else f"against {worst.defense}"
    parts = [f"{title(worst.metric)} {measure(worst.metric, worst.value)}", spread]
    images = f"over {worst.victims} images" if worst.victims else ""
    luck = f"(chance {chance(worst.chance)})" if worst.chance else ""
    return " ".join(filter(None, [f"Worst case: {worst.attack or 'attack'} {where}:", *parts, images, luck])) + "."


def _shown(summary: Summary) -> tuple[DefenseResult, ...]:
    """Return the undefended result and, of the defences, the one that leaks most to the aware attacker."""
    bare = [result for result in summary.defenses if result.defense == NO_DEFENSE]
    defended = [result for result in summary.defenses if result.defense != NO_DEFENSE and LEVEL in result.levels]
    return (*bare, *sorted(defended, key=_leakage, reverse=True)[:1])


def _leakage(result: DefenseResult) -> tuple[float, float, float]:
    """Return what orders defences: identification, then SSIM gain, then accuracy lost; unmeasured counts as bad."""
    means = [_estimate(result, name).mean for name in ("identified", "ssim_gain")]
    leaks = [float("inf") if mean is None else mean for mean in means]
    return leaks[0], leaks[1], -(result.accuracy or 0.0)


def _estimate(result: DefenseResult, name: str) -> Estimate:
    """Return a measure at the aware level."""
    return result.levels.get(LEVEL, {}).get(name, Estimate())


def _whose(result: DefenseResult) -> str:
    """Return the label of a figure."""
    return defense_title(result.defense)


def _identified(result: DefenseResult) -> Figure:
    estimate = _estimate(result, "identified")
    return Figure(_whose(result), of(estimate.mean, result.victims), interval("identified", estimate))


def _gain(result: DefenseResult) -> Figure:
    estimate = _estimate(result, "ssim_gain")
    mean = f"mean {measure('ssim_gain', estimate.mean)} {interval('ssim_gain', estimate)}"
    return Figure(_whose(result), measure("ssim_gain", estimate.worst), mean)


def _accuracy(result: DefenseResult) -> Figure:
    return Figure(_whose(result), accuracy_of(result), "")


def _cost(shown: tuple[DefenseResult, ...]) -> str:
    """Return what the defence costs."""
    known = [result.accuracy for result in shown if result.accuracy is not None]
    if shown[1:] and shown[1].diverged:
        return "With the defence that leaks most, training diverged."
    if len(shown) < 2 or len(known) < 2:
        return "Cost of a defence: not measured."
    points = 100 * (known[0] - known[1])
    verb = "costs" if points >= 0 else "gains"
    return f"The defence that leaks most {verb} {abs(points):.1f} percentage points."
