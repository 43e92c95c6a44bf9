"""CMA-ES over many trials at once: a search that needs values and no gradients; its maths is in ``evolution``.

Only ranks count, so a value that is not finite ranks last.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from leakward.attacks.solvers.evaluate import chunk_size, cost
from leakward.attacks.solvers.evolution import Evolution, Rates
from leakward.attacks.solvers.problem import Draws, Problem, Progress, Solution, Status
from leakward.fields import check, positive, whole
from leakward.pace import paced
from leakward.types import Tensors, generator


@dataclass(frozen=True)
class CMAES:
    """A gradient-free solver.

    Attributes:
        iterations: Generations, at least 1.
        population: Candidates of a generation, at least 4.
        sigma: Step length of the first generation, positive.
    """

    iterations: int
    population: int
    sigma: float = 1.0

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            whole("population", self.population, least=4),
            positive("sigma", self.sigma),
        )

    def solve(self, problem: Problem, rng: torch.Generator, progress: Progress = lambda _: None) -> Solution:
        """Solve all trials, each with a generator of its own.

        Args:
            problem: At least one trial, of one named candidate without bounds; its start is the first mean.
            rng: For the populations, and the randomness that the attacker averages over.
            progress: Called with the fraction done.
        """
        [(name, start)] = problem.start.items()
        device = pytree.tree_leaves((problem.victims, start))[0].device
        seed, *seeds = torch.randint(2**62, (1 + problem.trials,), generator=rng).tolist()
        draws, sources = generator(seed), [generator(own) for own in seeds]
        search = Evolution.start(start.flatten(1).to(device, torch.float64), self.sigma)
        rates = Rates.of(search.mean.shape[1], self.population)
        best, value = search.mean, torch.full_like(search.sigma, math.inf)
        evaluate = _evaluation(problem, self.population)
        for iteration in paced(range(self.iterations), problem.trials * self.population):
            noise = [torch.randn(self.population, search.mean.shape[1], generator=source) for source in sources]
            steps = search.steps(torch.stack(noise).to(search.mean))
            points = search.mean[:, None] + search.sigma[:, None, None] * steps
            candidates = points.to(start.dtype).view(*points.shape[:2], *start.shape[1:])
            values = (
                evaluate({name: candidates}, problem.draw(draws)).to(value).nan_to_num(math.inf, math.inf, math.inf)
            )
            least, index = values.min(1)
            best = torch.where((least < value)[:, None], points[torch.arange(len(points)), index], best)
            value = torch.minimum(value, least)
            search = search.advance(steps, values, rates)
            progress((iteration + 1) / self.iterations)
        found, last = ({name: point.to(start.dtype).view(start.shape)} for point in (best, search.mean))
        status = tuple(Status.OK if finite else Status.NON_FINITE for finite in torch.isfinite(value).tolist())
        return Solution(found, value.to(start.dtype), last, status, (self.iterations * self.population,) * len(value))


def _evaluation(problem: Problem, population: int) -> Callable[[Tensors, Draws], Tensor]:
    """Return the values (t p) of candidates (t p *shape), as many at a time as memory allows."""
    at_once = chunk_size(cost(problem), problem.trials * population)
    one = vmap(problem.objective, in_dims=(0, None, None), chunk_size=min(at_once, population))
    many = vmap(one, in_dims=(0, 0, None), chunk_size=max(1, at_once // population))

    def evaluate(candidates: Tensors, draws: Draws) -> Tensor:
        with torch.no_grad():
            return many(candidates, problem.victims, draws)

    return evaluate
