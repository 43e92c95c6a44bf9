"""Adam and signed Adam over many trials at once.

The step is Adam's (Kingma and Ba 2015, arXiv:1412.6980); ``signed`` feeds it the sign of the gradient, as Geiping et
al. 2020 (arXiv:2003.14053) do. Boxed candidates are projected to [0, 1] after every step.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from leakward.attacks.solvers.evaluate import Evaluate, Strategy, solve_in_chunks
from leakward.attacks.solvers.problem import Coupling, Problem, Progress, Solution, Status
from leakward.federated import optim
from leakward.fields import check, one_of, positive, whole
from leakward.pace import paced
from leakward.types import Tensors, generator

Schedule = Literal["constant", "step", "cosine"]
MILESTONES = (2.667, 1.6, 1.142)
"""The step schedule divides the rate by 10 after iterations ``N // m``, in floating point as in the authors' code:
``24 // 1.6`` is 14, not 15."""


@dataclass(frozen=True)
class Adam:
    """A first-order solver.

    Attributes:
        iterations: Steps, at least 1.
        learning_rate: Of the first step, positive.
        schedule: ``step`` divides by 10 at 3/8, 5/8 and 7/8; ``cosine`` falls to 0.
        signed: Whether only the sign of the gradient is used.
    """

    iterations: int
    learning_rate: float
    schedule: Schedule = "constant"
    signed: bool = False

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            one_of("schedule", self.schedule, get_args(Schedule)),
        )

    def solve(
        self,
        problem: Problem,
        rng: torch.Generator,
        progress: Progress = lambda _: None,
        strategy: Strategy | None = None,
        coupling: Coupling | None = None,
    ) -> Solution:
        """Solve all trials.

        Args:
            problem: At least one trial.
            rng: For the randomness that the attacker averages over.
            progress: Called with the fraction done.
            strategy: How to evaluate; chosen by expected cost where None.
            coupling: How trials look at each other; None if each is on its own.
        """
        seed = int(torch.randint(2**62, (1,), generator=rng))

        def chunk(part: Problem, evaluate: Evaluate, inner: Progress) -> Solution:
            return self._chunk(part, evaluate, generator(seed), inner, coupling)

        group = 1 if coupling is None else coupling.group
        return solve_in_chunks(problem, self.iterations, chunk, progress, strategy, group)

    def _chunk(
        self,
        problem: Problem,
        evaluate: Evaluate,
        rng: torch.Generator,
        progress: Progress,
        coupling: Coupling | None,
    ) -> Solution:
        candidate, victims = problem.start, problem.victims
        first = next(iter(candidate.values()))
        best, value = candidate, first.new_full((problem.trials,), math.inf)
        alive = torch.ones_like(value, dtype=torch.bool)
        count = torch.zeros_like(value, dtype=torch.long)
        memory = optim.start(candidate)
        for iteration in paced(range(self.iterations), problem.trials):
            if coupling is not None and iteration and iteration % coupling.every == 0:
                victims = coupling.rewrite(candidate, victims)
                value = torch.where(alive, math.inf, value)  # of another objective than the one from now on
            values, gradients = evaluate(candidate, victims, problem.draw(rng))
            alive = alive & _finite(values, gradients)
            count += alive
            better = alive & (values < value)
            value = torch.where(better, values, value)
            best = _where(better, candidate, best)
            direction = {n: g.sign() if self.signed else g for n, g in gradients.items()}
            rate = self.learning_rate * self._factor(iteration)
            moved, memory = optim.adam_step(candidate, direction, memory, learning_rate=rate)
            candidate = _where(alive, problem.project(_boxed(moved, problem.box)), candidate)
            progress((iteration + 1) / self.iterations)
        status = tuple(Status.OK if ok else Status.NON_FINITE for ok in alive.tolist())
        return Solution(best, value, candidate, status, tuple(count.tolist()))

    def _factor(self, iteration: int) -> float:
        if self.schedule == "step":
            return 0.1 ** sum(iteration >= self.iterations // m for m in MILESTONES)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))
        return 1.0


def _finite(values: Tensor, gradients: Tensors) -> Tensor:
    finite = torch.isfinite(values)
    for gradient in gradients.values():
        finite = finite & torch.isfinite(gradient).flatten(1).all(1)
    return finite


def _boxed(candidate: Tensors, box: tuple[str, ...]) -> Tensors:
    return {name: value.clamp(0, 1) if name in box else value for name, value in candidate.items()}


def _where(condition: Tensor, yes: Tensors, no: Tensors) -> Tensors:
    """Choose trial by trial; what was not chosen does not matter, not even if it is not finite."""
    return {n: torch.where(condition.view(-1, *[1] * (yes[n].ndim - 1)), yes[n], no[n]) for n in yes}
