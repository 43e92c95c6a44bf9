"""The noise of Flower's LocalDpMod, which follows a sensitivity of its own and not the bound of its clipping."""

import math
from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flower import FlowerApp
from leakward.linting.rules.parts import LOCAL_DP
from leakward.linting.values import finite, number

FIELDS = ("clipping_norm", "sensitivity", "epsilon", "delta")


def check(subject: Subject) -> Iterator[Found]:
    """Find sensitivities below the bound."""
    if not isinstance(subject, FlowerApp):
        return
    for made in subject.calls():
        if not made.of("flwr", LOCAL_DP):
            continue
        norm, sensitivity, epsilon, delta = (number(made.setting(name, at)) for at, name in enumerate(FIELDS))
        if norm is None or sensitivity is None or not finite(norm, sensitivity) or not 0 < sensitivity < norm:
            continue
        words = f"sensitivity {sensitivity:g} with clipping_norm {norm:g}"
        if epsilon is not None and delta is not None and epsilon > 0 and 0 < delta < 1:
            factor = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
            words += f": the noise has deviation {sensitivity * factor:.2g} and would have {norm * factor:.2g}"
        yield Found("problem", made.place, words)


SENSITIVITY = Rule(
    "sensitivity-below-norm",
    "LocalDpMod draws noise for its sensitivity, whatever its clipping lets through. One image can change an update by "
    "as much as clipping_norm allows, so with less noise the epsilon is of nothing.",
    "Set sensitivity to clipping_norm, or to twice that where any two updates must look alike; then choose epsilon "
    "again by the accuracy that is left.",
    check,
)
