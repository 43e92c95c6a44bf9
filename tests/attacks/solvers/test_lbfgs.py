"""The batched L-BFGS against textbook recursions, its line search's conditions, and PyTorch's optimiser."""

import math

import problems
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from leakward.attacks.solvers import LBFGS, Problem, Status
from leakward.attacks.solvers.history import History
from leakward.attacks.solvers.wolfe import ARMIJO, CURVATURE, MOST, Search
from leakward.types import generator


def two_loop(pairs, gradient):
    """Nocedal and Wright 2006, Algorithm 7.4, with gamma of eq. 7.20."""
    q, kept = gradient.clone(), []
    for s, y in reversed(pairs):
        a = (s @ q) / (s @ y)
        kept.append(a)
        q = q - a * y
    r = q if not pairs else q * (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1])
    for (s, y), a in zip(pairs, reversed(kept), strict=True):
        r = r + s * (a - (y @ r) / (s @ y))
    return r


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**20), st.lists(st.integers(0, 31), min_size=0, max_size=14)
)
def test_the_direction_is_the_two_loop_recursion(size, capacity, seed, events):
    """Bits 0 to 2 of an event: which trials add a pair. Bit 3: trial 0 forgets. Bit 4: its pair has no curvature."""
    rng, trials = generator(seed), 3
    history = History.empty(torch.zeros(trials, size, dtype=problems.DOUBLE), capacity)
    pairs: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in range(trials)]
    for event in events:
        if event & 8:
            history, pairs[0] = history.forget(torch.tensor([True, False, False])), []
        s, y = torch.randn(2, trials, size, generator=rng, dtype=problems.DOUBLE)
        y = s + 0.3 * y * s.norm(dim=1, keepdim=True) / y.norm(dim=1, keepdim=True)  # positive curvature
        if event & 16:
            y[0] = -s[0]
        where = torch.tensor([bool(event & 1 << i) for i in range(trials)])
        history = history.update(where, s, y)
        for i in range(trials):
            if where[i] and not (i == 0 and event & 16):
                pairs[i] = [*pairs[i], (s[i], y[i])][-capacity:]
    assert history.filled.tolist() == [len(held) for held in pairs]
    gradient = torch.randn(trials, size, generator=rng, dtype=problems.DOUBLE)
    expected = torch.stack([two_loop(held, g) for held, g in zip(pairs, gradient, strict=True)])
    assert_close(history.inverse_product(gradient), expected, rtol=1e-8, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**20), st.floats(0.01, 100), st.floats(0, 5))
def test_every_accepted_point_meets_the_strong_wolfe_conditions(seed, scale, wave):
    """On waves over a bowl, from steps that are too short and too long."""
    rng, trials, size = generator(seed), 4, 3
    x = torch.randn(trials, size, generator=rng, dtype=problems.DOUBLE)

    def value_and_gradient(point):
        value = 0.5 * scale * point.square().sum(1) + wave * (3 * point).sin().sum(1)
        return value, scale * point + 3 * wave * (3 * point).cos()

    f, g = value_and_gradient(x)
    search = Search.start(-g, g, f, first=torch.tensor([True, False, True, False]))
    slope, pending = -g.square().sum(1), torch.ones(trials, dtype=torch.bool)
    for _ in range(MOST):
        search, accepted, stuck = search.advance(*value_and_gradient(search.point(x)), pending)
        assert not stuck.any()
        step, value, gradient = search.result()
        for i in (accepted & pending).nonzero().flatten():
            again, again_g = value_and_gradient((x + step)[i : i + 1])
            assert_close((value[i], gradient[i]), (again[0], again_g[0]), rtol=1e-9, atol=1e-12)
            if search.count[i] < MOST:
                alpha = step[i].norm() / g[i].norm()
                assert value[i] <= f[i] + ARMIJO * alpha * slope[i] + 1e-12 * abs(f[i])
                assert abs(gradient[i] @ -g[i]) <= -CURVATURE * slope[i] * (1 + 1e-9)
            assert value[i] < f[i]
        pending = pending & ~accepted
        if not pending.any():
            break
    assert not pending.any()


def torch_evaluations(problem, trial, value, history):
    """Return how often PyTorch's L-BFGS evaluates before one trial is at or below ``value``."""
    one = problems.only(problem, trial)
    x = {name: start[0].clone().requires_grad_() for name, start in one.start.items()}
    optimizer = torch.optim.LBFGS(
        [*x.values()], max_iter=1000, max_eval=2000, history_size=history, line_search_fn="strong_wolfe",
        tolerance_grad=0, tolerance_change=0,
    )  # fmt: skip
    values = []

    def closure():
        optimizer.zero_grad()
        loss = problem.objective(x, {name: v[0] for name, v in one.victims.items()}, ())
        loss.backward()
        values.append(loss.item())
        return loss

    optimizer.step(closure)
    return next(i for i, found in enumerate(values, 1) if found <= value)


@pytest.mark.parametrize("problem", [problems.quadratic(size=8, condition=1e3), problems.rosenbrock(size=8)])
def test_it_finds_the_minimum_as_fast_as_pytorch(problem):
    found = LBFGS(400, 10, tolerance=1e-20).solve(problem, generator(0), strategy="vmap")
    assert (found.value <= 1e-20).all()
    x = torch.cat([value.flatten(1) for value in found.best.values()], dim=1)
    assert_close(x, problem.victims.get("c", torch.ones_like(x)), rtol=0, atol=1e-9)
    ours = LBFGS(400, 10, tolerance=1e-12).solve(problem, generator(0), strategy="vmap").evaluations
    theirs = [torch_evaluations(problem, trial, 1e-12, 10) for trial in range(problem.trials)]
    assert sum(ours) <= 1.3 * sum(theirs)


def test_it_steps_back_from_where_the_objective_is_not_finite():
    """``x - log x`` has its minimum at 1 and is NaN below 0."""
    start = {"x": torch.tensor([[0.01], [5.0]], dtype=problems.DOUBLE)}
    problem = Problem(lambda c, victim, draws: (c["x"] - c["x"].log()).sum(), start, {})
    found = LBFGS(60).solve(problem, generator(0))
    assert found.status == (Status.OK, Status.OK)
    assert_close(found.best["x"], torch.ones(2, 1, dtype=problems.DOUBLE), rtol=0, atol=1e-7)


def test_it_stops_at_the_tolerance_and_where_there_is_no_gradient():
    problem = problems.quadratic()
    problem.start["x"][1] = problem.victims["c"][1]
    found = LBFGS(200, 10, tolerance=1e-3).solve(problem, generator(0))
    assert (found.value <= 1e-3).all()
    assert found.evaluations[1] == 1
    assert all(1 < count < 100 for i, count in enumerate(found.evaluations) if i != 1)

    flat = Problem(lambda c, victim, draws: 1 + 0 * c["x"].sum(), {"x": torch.rand(2, 3)}, {})
    assert LBFGS(50).solve(flat, generator(0)).evaluations == (1, 1)


def test_a_kink_ends_it_without_error():
    """``|x|`` has no curvature and no Wolfe point near its kink."""
    start = {"x": torch.tensor([[3.0, -2.0]], dtype=problems.DOUBLE)}
    found = LBFGS(200).solve(Problem(lambda c, victim, draws: c["x"].abs().sum(), start, {}), generator(0))
    assert found.status == (Status.OK,)
    assert math.isfinite(found.value.item())
    assert found.value.item() < 0.1
