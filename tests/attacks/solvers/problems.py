"""Problems whose answers are known, for every solver."""

import torch

from leakward.attacks.solvers import Problem
from leakward.types import generator

DOUBLE = torch.float64


def quadratic(trials=4, size=6, condition=30.0):
    """``(x - c)' A (x - c) / 2`` with a matrix and a centre per trial."""
    rng = generator(0)
    basis = torch.linalg.qr(torch.randn(trials, size, size, generator=rng, dtype=DOUBLE)).Q
    scales = torch.logspace(0, torch.tensor(condition).log10().item(), size, dtype=DOUBLE)
    victims = {
        "a": basis @ torch.diag(scales) @ basis.mT,
        "c": torch.randn(trials, size, generator=rng, dtype=DOUBLE),
    }

    def objective(candidate, victim, draws):
        away = candidate["x"] - victim["c"]
        return away @ victim["a"] @ away / 2

    return Problem(objective, {"x": torch.randn(trials, size, generator=rng, dtype=DOUBLE)}, victims)


def rosenbrock(trials=3, size=6):
    """The banana, from a start per trial; two named candidates, so that packing is exercised too."""

    def objective(candidate, victim, draws):
        x = torch.cat([candidate["first"].flatten(), candidate["rest"]]) + 0 * victim["shift"]
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    start = -1.2 + 0.4 * torch.rand(trials, size, generator=generator(3), dtype=DOUBLE)
    parts = {"first": start[:, :2].reshape(trials, 1, 2), "rest": start[:, 2:]}
    return Problem(objective, parts, {"shift": torch.zeros(trials, dtype=DOUBLE)})


def only(problem, trial):
    """Return the problem of one trial."""
    victims = {name: value[trial : trial + 1] for name, value in problem.victims.items()}
    start = {name: value[trial : trial + 1] for name, value in problem.start.items()}
    return Problem(problem.objective, start, victims, problem.draw, problem.box)
