"""The delta that normal noise keeps, against its definition and against Flower's own noise."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from leakward.linting.rules.noise_formula import least_delta


@pytest.mark.parametrize(("epsilon", "deviation"), [(0.5, 5.0), (1.0, 4.84), (10.0, 0.484), (3.0, 0.2)])
def test_it_is_what_two_neighbours_differ_by_beyond_epsilon(epsilon, deviation):
    def beyond(x):
        return max(0.0, norm.pdf(x, 0.5, deviation) - math.exp(epsilon) * norm.pdf(x, -0.5, deviation))

    middle = epsilon * deviation**2  # from where on the difference is above 0
    expected = quad(beyond, middle, middle + 1 + 12 * deviation, epsabs=1e-14)[0]
    assert least_delta(epsilon, deviation) == pytest.approx(expected, rel=1e-6)


def test_great_and_small_numbers_are_no_trouble():
    assert least_delta(1e4, 1e-3) == pytest.approx(1)
    assert least_delta(1e-6, 1e3) == pytest.approx(norm.cdf(0.0005) - norm.cdf(-0.0005), rel=1e-2)


def test_flower_takes_its_noise_from_that_formula():
    pytest.importorskip("flwr")
    from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.supercore.differential_privacy import add_localdp_gaussian_noise_to_params

    nothing = ndarrays_to_parameters([np.zeros(200_000)])
    [noise] = parameters_to_ndarrays(add_localdp_gaussian_noise_to_params(nothing, 3.0, 10.0, 1e-5))
    assert noise.std() == pytest.approx(3 * math.sqrt(2 * math.log(1.25e5)) / 10, rel=0.02)
