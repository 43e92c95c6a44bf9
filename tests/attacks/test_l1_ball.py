"""The projection to the l1 ball against a solver of general problems."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from leakward.attacks.searching.l1_ball import project
from leakward.types import generator


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_nearest_point(seed):
    """As the difference of two non-negative vectors, the ball has smooth walls."""
    values = 2 * torch.randn(1, 5, generator=generator(seed), dtype=torch.float64)
    found = project(values, radius=2.0)[0]

    def distance(parts):
        return ((parts[:5] - parts[5:] - values[0].numpy()) ** 2).sum()

    wall = {"type": "ineq", "fun": lambda parts: 2.0 - parts.sum()}
    best = minimize(distance, np.full(10, 0.1), bounds=[(0, None)] * 10, constraints=[wall], options={"ftol": 1e-12})
    torch.testing.assert_close(found, torch.from_numpy(best.x[:5] - best.x[5:]), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.floats(0.01, 50.0), st.integers(0, 2**20))
def test_it_ends_within_and_leaves_alone_what_is_within(size, radius, seed):
    values = 3 * torch.randn(4, size, generator=generator(seed), dtype=torch.float64)
    found = project(values, radius)
    assert (found.abs().sum(1) <= radius * (1 + 1e-9)).all()
    inside = values.abs().sum(1) <= radius
    assert torch.equal(found[inside], values[inside])
    torch.testing.assert_close(found[~inside].abs().sum(1), torch.full((int((~inside).sum()),), radius).double())
    torch.testing.assert_close(project(found, radius), found)
    assert (found * values >= 0).all()


def test_a_row_that_is_not_finite_harms_no_other():
    values = torch.tensor([[3.0, -1.0], [torch.nan, 1.0], [torch.inf, 0.0]])
    assert torch.equal(project(values, radius=2.0)[0], torch.tensor([2.0, 0.0]))
