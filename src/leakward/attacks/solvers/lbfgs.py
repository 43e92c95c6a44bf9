"""L-BFGS over many trials at once, each with its own history and its own line search.

Every tick evaluates all trials that still run, in one vectorised call, and moves each one step further in its own
strong Wolfe line search (Nocedal and Wright 2006, Algorithms 3.5 and 3.6), so no trial waits for another. The
direction is the compact representation of Byrd, Nocedal and Schnabel 1994 (eq. 3.13), two matrix products instead of
a loop over the history:

    H = gamma I + [S, gamma Y] [[R^-T (D + gamma Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, gamma Y]'

with R the upper triangle of S'Y, D its diagonal, and gamma = s'y / y'y of the newest pair.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leakward.attacks.solvers.evaluate import Evaluate, Strategy, solve_in_chunks
from leakward.attacks.solvers.history import History
from leakward.attacks.solvers.problem import Draws, Problem, Progress, Solution, Status, select
from leakward.attacks.solvers.wolfe import Search
from leakward.fields import check, not_negative, whole
from leakward.pace import paced
from leakward.types import Tensors, generator


@dataclass(frozen=True)
class LBFGS:
    """A quasi-Newton solver.

    Attributes:
        evaluations: Objective-and-gradient evaluations per trial at most, at least 1.
        history: Pairs kept per trial, at least 1.
        tolerance: A trial stops once its objective is at most this.
    """

    evaluations: int
    history: int = 100
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check(
            self,
            whole("evaluations", self.evaluations),
            whole("history", self.history),
            not_negative("tolerance", self.tolerance),
        )

    def solve(
        self,
        problem: Problem,
        rng: torch.Generator,
        progress: Progress = lambda _: None,
        strategy: Strategy | None = None,
    ) -> Solution:
        """Solve all trials.

        The randomness that the attacker averages over is drawn once and kept, so that the objective stays one function.

        Args:
            problem: At least one trial.
            rng: For that randomness.
            progress: Called with the fraction done.
            strategy: How to evaluate; chosen by expected cost where None.
        """
        seed = int(torch.randint(2**62, (1,), generator=rng))

        def chunk(part: Problem, evaluate: Evaluate, inner: Progress) -> Solution:
            return self._chunk(part, evaluate, part.draw(generator(seed)), inner)

        return solve_in_chunks(problem, self.evaluations, chunk, progress, strategy)

    def _chunk(self, problem: Problem, evaluate: Evaluate, draws: Draws, progress: Progress) -> Solution:
        flat = _Flat(problem.start)
        x = flat.pack(problem.start)
        everyone = torch.arange(len(x), device=x.device)

        def value_and_gradient(points: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            values, gradients = evaluate(flat.unpack(points), select(problem.victims, index), draws)
            return values, flat.pack(gradients)

        f, g = value_and_gradient(x, everyone)
        count = torch.ones_like(everyone)
        alive = torch.isfinite(f) & torch.isfinite(g).all(1)
        broken = ~alive
        history = History.empty(x, self.history)
        search = Search.start(-g, g, f, first=True)
        for tick in paced(range(1, self.evaluations), problem.trials):
            running = alive & (f > self.tolerance) & g.any(1)  # no gradient, no direction to search along
            index = everyone[running]
            if not len(index):
                break
            tried = torch.full_like(f, math.inf)
            slope_point = torch.zeros_like(g)
            tried[index], slope_point[index] = value_and_gradient(search.point(x)[index], index)
            count[index] += 1
            search, accepted, stuck = search.advance(tried, slope_point, running)
            step, new_f, new_g = search.result()
            history = history.update(accepted, step, new_g - g)
            x = torch.where(accepted[:, None], x + step, x)
            f, g = torch.where(accepted, new_f, f), torch.where(accepted[:, None], new_g, g)
            restart = stuck & (history.filled > 0)
            alive = alive & ~(stuck & ~restart)
            history = history.forget(restart)
            ready = accepted | restart
            search = search.restart(ready, -history.inverse_product(g), g, f, history.filled == 0)
            progress(tick / self.evaluations)
        progress(1.0)
        status = tuple(Status.NON_FINITE if bad else Status.OK for bad in broken.tolist())
        value = torch.where(broken, torch.full_like(f, math.inf), f)
        return Solution(flat.unpack(x), value, flat.unpack(x), status, tuple(count.tolist()))


@dataclass(frozen=True, eq=False)
class _Flat:
    """Candidates by name to one vector per trial, and back."""

    like: Tensors

    def pack(self, tensors: Tensors) -> Tensor:
        return torch.cat([tensors[name].flatten(1) for name in self.like], dim=1)

    def unpack(self, vectors: Tensor) -> Tensors:
        sizes = [value[0].numel() for value in self.like.values()]
        parts = vectors.split(sizes, dim=1)
        return {n: p.view(-1, *v.shape[1:]) for (n, v), p in zip(self.like.items(), parts, strict=True)}
