"""How trials are evaluated, what that costs, and the decisions that follow from it."""

import problems
import pytest
import torch
from torch.testing import assert_close

from leakward.attacks.solvers import Problem
from leakward.attacks.solvers.evaluate import Cost, build, choose, chunk_size, cost

CPU = torch.device("cpu")


@pytest.mark.parametrize("strategy", ["loop", "vmap", "trace"])
def test_values_and_gradients_are_those_of_autograd(strategy):
    problem = problems.rosenbrock()
    values, gradients = build(problem, strategy)(problem.start, problem.victims, ())
    for trial in range(problem.trials):
        one = {name: value[trial].clone().requires_grad_() for name, value in problem.start.items()}
        loss = problem.objective(one, {"shift": torch.zeros((), dtype=problems.DOUBLE)}, ())
        loss.backward()
        assert_close(values[trial], loss.detach())
        assert_close({name: value[trial] for name, value in gradients.items()}, {n: v.grad for n, v in one.items()})
    assert not values.requires_grad


def test_the_cost_of_a_matrix_product():
    """Forward 2 m n k; the gradient with respect to x another 2 m n k."""
    m, n, k = 5, 7, 3
    start = {"x": torch.rand(4, n, k)}
    victims = {"a": torch.rand(4, m, n)}
    found = cost(Problem(lambda c, victim, draws: (victim["a"] @ c["x"]).square().sum(), start, victims))
    assert found.flops == 2 * (2 * m * n * k)
    least = 4 * (m * k + n * k)  # the product and the gradient, in float32
    assert least <= found.bytes <= 10 * least


def test_the_cost_does_not_grow_with_the_number_of_trials():
    assert cost(problems.quadratic(trials=2)) == cost(problems.quadratic(trials=9))


@pytest.mark.parametrize(
    ("flops", "trials", "evaluations", "images", "expected"),
    [
        (1_000, 1, 10, 1, "loop"),  # nothing to vectorise
        (1_000, 8, 10, 1, "vmap"),  # too short to compile for
        (10**9, 8, 300, 1, "trace"),  # 34 s by vmap, of which a trace saves more than it takes
        (10**9, 64, 4000, 1, "compile"),
        (2 * 10**9, 8, 10**6, 4, "loop"),  # several images fill the cores
        (2 * 10**9, 8, 10, 1, "vmap"),
        (10**9, 8, 10, 4, "vmap"),
    ],
)
def test_the_form_follows_from_sizes(flops, trials, evaluations, images, expected, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/c++")
    assert choose(Cost(flops, 1), trials, evaluations, images, CPU) == expected


def test_nothing_is_compiled_without_a_compiler(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert choose(Cost(10**9, 1), 64, 10**6, 1, CPU) == "trace"


def test_an_accelerator_is_never_fed_one_trial_at_a_time(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert choose(Cost(2 * 10**9, 1), 1, 10, 4, torch.device("cuda")) == "vmap"


@pytest.mark.parametrize(
    ("size", "trials", "memory", "expected"),
    [(10, 7, 1000, 7), (10, 7, 40, 4), (10, 7, 30, 3), (10, 7, 5, 1), (0, 7, 5, 4), (10, 1, 5, 1)],
)
def test_chunks_are_even_and_stay_below_the_memory(size, trials, memory, expected):
    found = chunk_size(Cost(1, size), trials, memory)
    assert found == expected
    assert found == 1 or found * size <= memory
