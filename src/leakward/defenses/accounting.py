"""What Gaussian noise on Poisson samples proves, by the accountants of Opacus.

T steps, each on a sample that holds every image with probability q, with noise of s times the bound on one image, are
(epsilon, delta) differentially private for every pair on a curve. Rényi divergences (Mironov et al. 2019,
arXiv:1908.10530) give a curve for all settings; the numerical composition of privacy loss distributions (PRV, Gopi et
al. 2021, arXiv:2106.02848) one that is up to a fifth lower, unless epsilon is so large that its grid overflows.
"""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis import rdp

from leakward.federated import Guarantee
from leakward.fields import check, whole

ORDERS = [*RDPAccountant.DEFAULT_ALPHAS, 128, 256, 512]
LEAST_NOISE = 1e-3
"""Noise multipliers below this prove nothing (epsilon in the millions after one step), and stall the accountants."""
MOST_EPSILON = 50.0
"""Where Rényi divergences say more than this, the numerical accountant is not asked."""
EPSILON_ERROR = 0.01
"""That the numerical accountant may make, and adds; its own default."""
DELTAS = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)
"""Of the curve that bounds on reconstruction are read off."""


def check_exposure(owner: object, sampling_rate: float, rounds: int, delta: float, steps: int) -> None:
    """Raise ``PlanError`` for what is out of the ranges that ``Defense.guarantee`` gives."""
    check(
        owner,
        ("sampling_rate", sampling_rate, "a number in (0, 1]", 0 < sampling_rate <= 1),
        whole("rounds", rounds),
        ("delta", delta, "a number in (0, 1)", 0 < delta < 1),
        whole("steps", steps),
    )


def message_guarantee(
    owner: object, noise_multiplier: float, sampling_rate: float, rounds: int, delta: float, steps: int
) -> Guarantee | None:
    """Return what a defence that noises the whole message proves, which an image of any local step is in.

    Raises:
        PlanError: If something is out of the ranges that ``Defense.guarantee`` gives.
    """
    check_exposure(owner, sampling_rate, rounds, delta, steps)
    return gaussian_guarantee(noise_multiplier, 1 - (1 - sampling_rate) ** steps, rounds, delta)


@lru_cache
def gaussian_guarantee(noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> Guarantee | None:
    """Return epsilon at ``delta`` by the tighter accountant; None with so little noise that nothing is proven.

    Args:
        noise_multiplier: s, at least 0.
        sampling_rate: q, in (0, 1].
        steps: T, at least 1.
        delta: In (0, 1).
    """
    if noise_multiplier < LEAST_NOISE:
        return None
    setting, deltas = (noise_multiplier, sampling_rate, steps), (delta, *DELTAS)
    with warnings.catch_warnings(action="ignore"):  # orders at an end of their list, and logarithms of 0 on the grid
        by_rdp, by_prv = rdp_epsilons(*setting, deltas), prv_epsilons(*setting, deltas)
    epsilon, name = min((by_rdp[0], "RDP"), (by_prv[0], "PRV"))
    if not math.isfinite(epsilon):
        return None
    curve = tuple(zip(map(min, by_rdp[1:], by_prv[1:]), DELTAS, strict=True))
    return Guarantee(epsilon, delta, f"Opacus {name}, Poisson sampling, add or remove one image", curve)


def rdp_epsilons(noise_multiplier: float, sampling_rate: float, steps: int, deltas: Sequence[float]) -> list[float]:
    """Return epsilon at every delta by Rényi divergences."""
    spent = _divergences(noise_multiplier, sampling_rate, steps)
    found = (rdp.get_privacy_spent(orders=ORDERS, rdp=spent, delta=delta)[0] for delta in deltas)
    return [max(0.0, float(epsilon)) for epsilon in found]


def prv_epsilons(noise_multiplier: float, sampling_rate: float, steps: int, deltas: Sequence[float]) -> list[float]:
    """Return upper bounds of epsilon at every delta by one numerical composition; infinity where the grid fails."""
    if max(rdp_epsilons(noise_multiplier, sampling_rate, steps, deltas)) > MOST_EPSILON:
        return [math.inf] * len(deltas)
    accountant = _Composition()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    try:
        found = accountant.epsilons(deltas)
    except (RuntimeError, ValueError):  # Opacus's own checks of its grid
        return [math.inf] * len(deltas)
    return [max(0.0, epsilon) if math.isfinite(epsilon) else math.inf for epsilon in found]


class _Composition(PRVAccountant):
    """Opacus's accountant, asked for many deltas at once."""

    def epsilons(self, deltas: Sequence[float]) -> list[float]:
        """Return what ``get_epsilon`` does for the smallest delta, and read the others off the same distribution."""
        error = min(deltas) / 1000
        losses: Any = self._get_dprv(eps_error=EPSILON_ERROR, delta_error=error)
        return [float(losses.compute_epsilon(delta, error, EPSILON_ERROR)[2]) for delta in deltas]


@lru_cache
def _divergences(noise_multiplier: float, sampling_rate: float, steps: int) -> Any:
    """Return the divergence at each of ``ORDERS``, which every delta is read off."""
    return rdp.compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=steps, orders=ORDERS)
