"""The noise of Flower's LocalDpMod, which follows a sensitivity of its own and not the bound of its clipping."""

from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.rules.parts import local_dp
from leakward.linting.values import finite


def check(subject: Subject) -> Iterator[Found]:
    """Find sensitivities below the bound."""
    for mod in local_dp(subject):
        norm, sensitivity, factor = mod.norm, mod.sensitivity, mod.deviation
        if norm is None or sensitivity is None or not finite(norm, sensitivity) or not 0 < sensitivity < norm:
            continue
        words = f"sensitivity {sensitivity:g} with clipping_norm {norm:g}"
        if factor is not None:
            words += f": the noise has deviation {sensitivity * factor:.2g} and would have {norm * factor:.2g}"
        yield Found("problem", mod.place, words)


SENSITIVITY = Rule(
    "sensitivity-below-norm",
    "LocalDpMod draws noise for its sensitivity, whatever its clipping lets through. One image can change an update by "
    "as much as clipping_norm allows, so with less noise the epsilon is of nothing.",
    "Set sensitivity to clipping_norm, or to twice that where any two updates must look alike; then choose epsilon "
    "again by the accuracy that is left.",
    check,
)
