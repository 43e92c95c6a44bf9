"""How sure a mean is: confidence intervals over victims, and exact tests of rates.

Images that travelled in one update are recovered together or not at all, so intervals resample whole groups. The
bootstrap is the percentile one (Efron 1979). Few groups give intervals that are too short: on 400 simulated normal
and exponential samples a nominal 95 % held the truth in 77 to 81 % of cases with 4 groups, 83 to 89 % with 8 and
93 to 94 % with 32; the bias-corrected variant (BCa) was no better.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics.metric import Metric

RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """One measure over many victims.

    Attributes:
        mean: Over all images.
        low: Lower end of the confidence interval of the mean; none with a single group.
        high: Upper end; none with a single group.
        worst: The value of the image that leaks most.
        count: Number of images.
    """

    mean: float
    low: float | None
    high: float | None
    worst: float
    count: int


def summarise(
    values: Float[Tensor, " n"],
    groups: Int[Tensor, " n"],
    metric: Metric,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Summary:
    """Return mean, interval and worst case of one measure.

    Args:
        values: One per image, finite.
        groups: Which images belong together (came from one update); any whole numbers.
        metric: Declares which way leaks more.
        level: Confidence, between 0 and 1.
        seed: Of the resampling; equal seeds give equal intervals.

    Raises:
        LeakwardError: If there are no values, one is not finite, or groups and values differ in number.
    """
    if len(values) == 0 or len(values) != len(groups) or not torch.isfinite(values).all():
        raise LeakwardError(
            f"{metric.name}: expected finite values, one group number each and at least one, "
            f"got {len(values)} values and {len(groups)} groups; leave failed attacks out"
        )
    exact = values.double().cpu().numpy()
    _, member = np.unique(groups.cpu().numpy(), return_inverse=True)
    sums, sizes = np.bincount(member, weights=exact), np.bincount(member)
    low, high = _interval(sums, sizes, metric, level, seed)
    return Summary(float(exact.mean()), low, high, metric.worst(values), len(exact))


def _interval(
    sums: np.ndarray, sizes: np.ndarray, metric: Metric, level: float, seed: int
) -> tuple[float | None, float | None]:
    """Return both ends; resampling all-equal answers would claim certainty, so those get the exact interval."""
    groups = len(sums)
    if groups < 2:
        return None, None
    rate = sums.sum() / sizes.sum()
    if metric.binary and rate in (0, 1):
        exact = binomtest(int(rate * groups), groups).proportion_ci(level, method="exact")
        return float(exact.low), float(exact.high)
    ends = bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis) / size.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(ends.low), float(ends.high)


def p_value_above_chance(successes: int, trials: int, chance: float) -> float:
    """Return the exact probability of at least ``successes`` if each of ``trials`` succeeded by chance alone.

    Trials must be independent: count updates, not images of one update.

    Example:
        >>> round(p_value_above_chance(3, 3, 0.5), 3)
        0.125
    """
    return float(binomtest(successes, trials, chance, alternative="greater").pvalue)


def upper_bound(successes: int, trials: int, level: float = 0.95) -> float:
    """Return the one-sided upper bound of a rate, Clopper and Pearson 1934; trials must be independent.

    Example:
        >>> round(upper_bound(0, 59), 3)
        0.05
    """
    return float(binomtest(successes, trials, alternative="less").proportion_ci(level, method="exact").high)
