"""Optimisers as pure functions, so that several local steps can be differentiated through.

They follow ``torch.optim`` to the letter (``torch.optim.SGD`` without Nesterov or dampening, ``torch.optim.Adam`` with
its default betas), which the tests check step by step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from leakward.federated.recipe import LocalTraining
from leakward.types import Tensors

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """Number of steps taken, and the moments by parameter name."""

    steps: int
    first: Tensors
    second: Tensors


StepFunction = Callable[[Tensors, Tensors, OptimizerState], tuple[Tensors, OptimizerState]]


def start(parameters: Tensors) -> OptimizerState:
    """Return the state before the first step."""
    zeros = {name: torch.zeros_like(value) for name, value in parameters.items()}
    return OptimizerState(0, zeros, dict(zeros))


def sgd_step(
    parameters: Tensors,
    gradient: Tensors,
    state: OptimizerState,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> tuple[Tensors, OptimizerState]:
    """Take one step of stochastic gradient descent (momentum as in Sutskever et al. 2013, PyTorch's form)."""
    decayed = _decay(parameters, gradient, weight_decay)
    velocity = {n: momentum * state.first[n] + decayed[n] for n in parameters} if momentum else decayed
    stepped = {n: p - learning_rate * velocity[n] for n, p in parameters.items()}
    return stepped, OptimizerState(state.steps + 1, velocity, state.second)


def adam_step(
    parameters: Tensors,
    gradient: Tensors,
    state: OptimizerState,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> tuple[Tensors, OptimizerState]:
    """Take one step of Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1)."""
    steps = state.steps + 1
    decayed = _decay(parameters, gradient, weight_decay)
    first = {n: BETAS[0] * state.first[n] + (1 - BETAS[0]) * g for n, g in decayed.items()}
    second = {n: BETAS[1] * state.second[n] + (1 - BETAS[1]) * g * g for n, g in decayed.items()}
    correction = (1 - BETAS[1] ** steps) ** 0.5
    size = learning_rate / (1 - BETAS[0] ** steps)
    stepped = {n: p - size * first[n] / (_safe_sqrt(second[n]) / correction + EPSILON) for n, p in parameters.items()}
    return stepped, OptimizerState(steps, first, second)


def step_function(recipe: LocalTraining) -> StepFunction:
    """Return the step that ``recipe`` asks for."""

    def step(parameters: Tensors, gradient: Tensors, state: OptimizerState) -> tuple[Tensors, OptimizerState]:
        rate, decay = recipe.learning_rate, recipe.weight_decay
        if recipe.optimizer == "adam":
            return adam_step(parameters, gradient, state, learning_rate=rate, weight_decay=decay)
        return sgd_step(parameters, gradient, state, learning_rate=rate, momentum=recipe.momentum, weight_decay=decay)

    return step


def _decay(parameters: Tensors, gradient: Tensors, weight_decay: float) -> Tensors:
    if not weight_decay:
        return gradient
    return {name: g + weight_decay * parameters[name] for name, g in gradient.items()}


def _safe_sqrt(value: torch.Tensor) -> torch.Tensor:
    """Return the square root, with derivative 0 instead of infinity where ``value`` is 0."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).sqrt(), 0.0)
