"""Epsilon is what Opacus says, and what it implies for reconstruction is not below the exact answer."""

import math
import time

import pytest
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.stats import norm

from leakward.defenses import DPSGD
from leakward.defenses.accounting import DELTAS, gaussian_guarantee, prv_epsilons, rdp_epsilons
from leakward.federated import Guarantee

pytestmark = [pytest.mark.filterwarnings("ignore:Optimal order"), pytest.mark.filterwarnings("ignore:divide by zero")]
SETTING = 1.1, 0.02, 500


def test_epsilon_is_the_published_accountants(reference):
    known = reference("privacy_accounting")
    columns = ("noise_multiplier", "sample_rate", "steps", "delta", "epsilon_rdp", "epsilon_prv")
    for noise, rate, steps, delta, rdp, prv in zip(*(known[column] for column in columns), strict=True):
        setting = float(noise), float(rate), int(steps), [float(delta)]
        assert rdp_epsilons(*setting) == pytest.approx([rdp], rel=1e-9)
        assert prv_epsilons(*setting) in ([pytest.approx(prv, rel=1e-6)], [math.inf])


def test_the_tighter_accountant_is_taken_and_named():
    by_rdp, by_prv = RDPAccountant(), PRVAccountant()
    by_rdp.history = by_prv.history = [SETTING]
    found = gaussian_guarantee(*SETTING, 1e-5)
    assert found.epsilon == pytest.approx(by_prv.get_epsilon(1e-5))
    assert found.epsilon < by_rdp.get_epsilon(1e-5)
    assert found.accountant == "Opacus PRV, Poisson sampling, add or remove one image"
    for epsilon, delta in found.curve:
        assert max(0.0, by_prv.get_epsilon(delta)) == pytest.approx(epsilon, abs=0.01)
    assert [delta for _, delta in found.curve] == [*DELTAS]


@pytest.mark.parametrize(("noise", "rate", "rounds", "steps"), [(1.5, 0.1, 4, 3), (0.9, 0.02, 40, 1)])
def test_epsilon_of_a_training_is_that_of_opacus_stepped_for_every_local_step(noise, rate, rounds, steps):
    by_rdp, by_prv = RDPAccountant(), PRVAccountant()
    for _ in range(rounds * steps):
        for accountant in (by_rdp, by_prv):
            accountant.step(noise_multiplier=noise, sample_rate=rate)
    found = DPSGD(noise_multiplier=noise).guarantee(rate, rounds, 1e-5, steps)
    assert found.epsilon == pytest.approx(min(by_rdp.get_epsilon(1e-5), by_prv.get_epsilon(1e-5)), rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1e-300, 1e-9, 1e-6, 9e-4])
def test_next_to_no_noise_proves_nothing_and_takes_no_time(noise):
    """Opacus's sums over orders would run for minutes."""
    start = time.perf_counter()
    assert gaussian_guarantee(noise, 0.01, 1000, 1e-5) is None
    assert time.perf_counter() - start < 0.1


def test_where_the_grid_would_overflow_the_other_stands_in():
    found = gaussian_guarantee(0.1, 0.25, 40, 1e-5)
    assert [found.epsilon] == rdp_epsilons(0.1, 0.25, 40, [1e-5])
    assert "RDP" in found.accountant
    assert found.reconstruction_bound(1 / 256) == 1.0


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (2.0, 1), (5.0, 10), (20.0, 10)])
@pytest.mark.parametrize("prior", [1 / 256, 0.1])
def test_the_reconstruction_bound_is_just_above_the_exact_one(noise, steps, prior):
    """Without sampling the best test of one image against none is Gaussian: Phi(Phi^-1(prior) + sqrt(T) / s)."""
    exact = norm.cdf(norm.ppf(prior) + math.sqrt(steps) / noise)
    bound = gaussian_guarantee(noise, 1.0, steps, 1e-5).reconstruction_bound(prior)
    assert exact <= bound < 1.5 * exact + 0.01


def test_a_perfect_guarantee_leaves_the_prior():
    assert Guarantee(0.0, 0.0, "by hand").reconstruction_bound(0.25) == 0.25
    assert Guarantee(1e6, 0.0, "by hand").reconstruction_bound(0.25) == 1.0
