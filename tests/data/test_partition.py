"""Shares of clients: disjoint, covering, reproducible, and as skewed as asked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leakward.data import dirichlet, iid, sized
from leakward.data.partition import carve
from leakward.errors import DataError
from leakward.types import generator


def covers(shares, n):
    return torch.cat(shares).sort().values.tolist() == list(range(n))


def counts(shares, labels):
    return np.array([torch.bincount(labels[share], minlength=int(labels.max()) + 1).tolist() for share in shares])


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 200), clients=st.integers(1, 20), classes=st.integers(1, 9), seed=st.integers(0, 9))
def test_shares_are_disjoint_covering_and_equal(n, clients, classes, seed):
    labels = torch.randint(classes, (n,), generator=generator(seed))
    if n < clients:
        with pytest.raises(DataError, match="use fewer clients or more images"):
            iid(labels, clients, generator(0))
        return
    for alpha in (1e-300, 1e-3, 0.5, 1e9):
        shares = dirichlet(labels, clients, alpha, generator(seed))
        assert covers(shares, n)
        assert {len(share) for share in shares} <= {n // clients, -(-n // clients)}
    assert covers(iid(labels, clients, generator(seed)), n)


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=9), classes=st.integers(1, 5), seed=st.integers(0, 9))
def test_given_shares_are_disjoint_and_mixed_as_the_whole_is(sizes, classes, seed):
    labels = torch.randint(classes, (sum(sizes) + 7,), generator=generator(seed))
    shares = sized(labels, sizes, generator(seed))
    assert [len(share) for share in shares] == sizes
    assert len(torch.cat(shares).unique()) == sum(sizes)
    expected = torch.bincount(labels, minlength=classes) / len(labels) * torch.tensor(sizes)[:, None]
    found = torch.stack([torch.bincount(labels[share], minlength=classes) for share in shares])
    assert (found - expected).abs().max() < classes
    assert torch.equal(torch.cat(sized(labels, sizes, generator(seed))), torch.cat(shares))


@pytest.mark.parametrize("sizes", [(5, 6), (10, 0)])
def test_given_shares_that_cannot_be_are_refused(sizes):
    with pytest.raises(DataError, match="lower the shares"):
        sized(torch.arange(10) % 2, sizes, generator(0))


def test_the_generator_decides():
    labels = torch.arange(100) % 5
    for share in (lambda rng: iid(labels, 4, rng), lambda rng: dirichlet(labels, 4, 0.5, rng)):
        a, b, c = (torch.cat(share(generator(seed))).tolist() for seed in (0, 0, 1))
        assert a == b != c


def test_alpha_sets_the_skew():
    labels = torch.arange(10_000) % 10
    skewed = counts(dirichlet(labels, 10, 1e-6, generator(0)), labels)
    even = counts(dirichlet(labels, 10, 1e6, generator(0)), labels)
    # With classes as large as shares, the first client holds a single class.
    assert skewed[0].max() == 1000
    assert abs(even - 100).max() < 50


def test_class_proportions_have_the_moments_of_the_paper():
    # The first share of a large set follows q ~ Dir(alpha p): E q = p and Var q = p (1 - p) / (alpha + 1).
    p, alpha, draws = np.array([0.2, 0.3, 0.5]), 2.0, 300
    labels = torch.tensor([0] * 4000 + [1] * 6000 + [2] * 10_000)
    q = np.array([counts(dirichlet(labels, 20, alpha, generator(s))[:1], labels)[0] for s in range(draws)]) / 1000
    assert np.allclose(q.mean(0), p, atol=0.05)
    assert np.allclose(q.var(0), p * (1 - p) / (alpha + 1), rtol=0.2)


def test_order_within_a_share_is_random():
    labels = torch.arange(1000) // 100
    share = dirichlet(labels, 1, 1.0, generator(0))[0]
    assert len(labels[share[:20]].unique()) > 3


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_an_alpha_that_is_not_positive(alpha):
    with pytest.raises(DataError, match="expected a positive alpha"):
        dirichlet(torch.zeros(9, dtype=torch.int64), 2, alpha, generator(0))


def test_refuses_impossible_shares():
    labels = torch.zeros(9, dtype=torch.int64)
    with pytest.raises(DataError, match="at least 5 images for each of 2 clients, got 9"):
        dirichlet(labels, 2, 1.0, generator(0), min_images=5)
    with pytest.raises(DataError, match="at least 1 client"):
        iid(labels, 0, generator(0))


def test_carve():
    index = torch.arange(100, 110)
    stays, aside = carve(index, 0.2, generator(0))
    assert (len(stays), len(aside)) == (8, 2)
    assert torch.cat([stays, aside]).sort().values.tolist() == index.tolist()
    with pytest.raises(DataError, match="at least 2 images"):
        carve(index[:1], 0.2, generator(0))
