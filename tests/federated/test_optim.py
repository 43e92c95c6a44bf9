"""What the comparison with PyTorch's optimisers over whole rounds does not reach."""

import pytest
import torch
from torch.func import grad

from leakward.federated import LocalTraining, optim


@pytest.mark.parametrize("gradient", [0.0, 1e-3])
def test_adam_has_a_finite_derivative_where_the_gradient_vanishes(gradient):
    """At 0 the square root has none; the first step, rate * g / (|g| + epsilon), has slope rate / epsilon."""
    parameters = {"w": torch.tensor(1.0, dtype=torch.float64)}

    def stepped(g):
        return optim.adam_step(parameters, {"w": g}, optim.start(parameters), learning_rate=0.1)[0]["w"]

    slope = grad(stepped)(torch.tensor(gradient, dtype=torch.float64))
    expected = -0.1 * optim.EPSILON / (gradient + optim.EPSILON) ** 2
    assert slope.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_leaves_what_it_is_given(optimizer):
    parameters, gradient = {"w": torch.ones(2)}, {"w": torch.full((2,), 3.0)}
    start = optim.start(parameters)
    take = optim.step_function(LocalTraining(share="update", optimizer=optimizer, momentum=0.9, weight_decay=0.1))
    after, memory = take(parameters, gradient, start)
    assert (start.steps, memory.steps) == (0, 1)
    assert torch.equal(parameters["w"], torch.ones(2))
    assert torch.equal(gradient["w"], torch.full((2,), 3.0))
    assert torch.equal(start.first["w"], torch.zeros(2))
    assert (after["w"] < 1).all()
