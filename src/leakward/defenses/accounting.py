"""What Gaussian noise on Poisson samples proves, by the accountants of Opacus.

T steps, each on a sample that holds every image with probability q, with noise of s times the bound on one image, are
(epsilon, delta) differentially private for every pair on a curve. Rényi divergences (Mironov et al. 2019,
arXiv:1908.10530) give a curve for all settings; the numerical composition of privacy loss distributions (PRV, Gopi et
al. 2021, arXiv:2106.02848) one that is up to a fifth lower, unless epsilon is so large that its grid overflows.
"""

import math
import warnings
from functools import lru_cache
from typing import Any

from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis import rdp

from leakward.federated import Guarantee

ORDERS = [*RDPAccountant.DEFAULT_ALPHAS, 128, 256, 512]
LEAST_NOISE = 1e-3
"""Noise multipliers below this prove nothing (epsilon in the millions after one step), and stall the accountants."""
MOST_EPSILON = 50.0
"""Where Rényi divergences say more than this, the numerical accountant is not asked."""
DELTAS = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)
"""Of the curve that bounds on reconstruction are read off."""


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
    setting = noise_multiplier, sampling_rate, steps
    with warnings.catch_warnings(action="ignore"):  # orders at an end of their list, and logarithms of 0 on the grid
        by_rdp, by_prv = rdp_epsilon(*setting, delta), prv_epsilon(*setting, delta)
        curve = tuple((min(rdp_epsilon(*setting, d), prv_epsilon(*setting, d)), d) for d in DELTAS)
    epsilon, name = min((by_rdp, "RDP"), (by_prv, "PRV"))
    return Guarantee(epsilon, delta, f"Opacus {name}, Poisson sampling, add or remove one image", curve)


def rdp_epsilon(noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    """Return epsilon by Rényi divergences."""
    spent = _divergences(noise_multiplier, sampling_rate, steps)
    epsilon, _ = rdp.get_privacy_spent(orders=ORDERS, rdp=spent, delta=delta)
    return max(0.0, float(epsilon))


def prv_epsilon(noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    """Return epsilon by numerical composition, an upper bound; infinity where its grid would overflow."""
    if rdp_epsilon(noise_multiplier, sampling_rate, steps, delta) > MOST_EPSILON:
        return math.inf
    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    epsilon = float(accountant.get_epsilon(delta))
    return max(0.0, epsilon) if math.isfinite(epsilon) else math.inf


@lru_cache
def _divergences(noise_multiplier: float, sampling_rate: float, steps: int) -> Any:
    """Return the divergence at each of ``ORDERS``, which every delta is read off."""
    return rdp.compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=steps, orders=ORDERS)
