"""How well the prediction of ``leakward audit --estimate`` did."""

from collections import defaultdict

from leakward.report.run import Run

Group = tuple[str, str, str]
"""Attack, defence and level."""
LONG = 600
"""Seconds from which a time is told in minutes."""


def how_well(run: Run) -> str:
    """Say in a sentence what was predicted for the cells and what they took; nothing where nothing was predicted."""
    if run.prediction is None:
        return ""
    foretold, taken = defaultdict[Group, float](float), defaultdict[Group, float](float)
    for one in run.prediction.forecasts:
        if one.kind == "cell":
            foretold[one.attack, one.defense, one.knowledge] += one.seconds
    for cell in run.summary.cells:
        taken[cell.attack, cell.defense, cell.knowledge] += cell.seconds or 0.0
    ratios = sorted(taken[group] / seconds for group, seconds in foretold.items() if seconds)
    predicted, took = (_time(sum(of.values())) for of in (foretold, taken))
    sentence = f"The cells were predicted to take {predicted} of computing, and took {took}"
    if len(ratios) > 1:
        sentence += (
            f"; each attack on each defence at each level between {ratios[0]:.1f} and {ratios[-1]:.1f} times what was "
            "predicted for it"
        )
    return f"{sentence}."


def _time(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < LONG else f"{seconds / 60:.0f} minutes"
