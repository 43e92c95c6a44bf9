"""The noise of Flower's LocalDpMod, whose formula is proven for an epsilon of at most 1.

    s = S sqrt(2 ln(1.25 / d)) / e                        Dwork and Roth 2014, theorem A.1, for e <= 1
    d(s, e) = P(S / 2s - e s / S) - exp(e) P(-S / 2s - e s / S)      Balle and Wang 2018, arXiv:1805.06530, theorem 8

with s the deviation, S the sensitivity, e and d epsilon and delta, and P the normal distribution function. The second
is the least delta that noise of that size keeps at e, which is more than was set where e is large.
"""

import math
from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.rules.parts import local_dp
from leakward.linting.values import finite


def check(subject: Subject) -> Iterator[Found]:
    """Find an epsilon for which the noise is too small."""
    for mod in local_dp(subject):
        epsilon, delta, deviation = mod.epsilon, mod.delta, mod.deviation
        if epsilon is None or delta is None or deviation is None or not finite(epsilon):
            continue
        kept = least_delta(epsilon, deviation)
        if kept > delta:
            yield Found("problem", mod.place, f"epsilon {epsilon:g} with delta {delta:g}: the noise keeps {kept:.2g}")


def least_delta(epsilon: float, deviation: float) -> float:
    """Return the least delta of normal noise, its deviation in units of the sensitivity."""
    half, shift = 1 / (2 * deviation), epsilon * deviation
    beyond = _normal(-half - shift)
    return _normal(half - shift) - (math.exp(epsilon + math.log(beyond)) if beyond else 0.0)


def _normal(value: float) -> float:
    return math.erfc(-value / math.sqrt(2)) / 2


NOISE_FORMULA = Rule(
    "epsilon-beyond-formula",
    "LocalDpMod takes its noise from a formula that is proven for an epsilon of at most 1. For large ones the noise is "
    "too small, and the chance that the bound does not hold is greater than the delta that was set.",
    "Set an epsilon of at most 1 for a round, or state the delta that the noise keeps.",
    check,
)
