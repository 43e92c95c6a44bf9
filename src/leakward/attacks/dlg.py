"""Deep Leakage from Gradients: Zhu, Liu and Han 2019 (arXiv:1906.08935), Algorithm 1.

Image and label are optimised together until the gradient of the dummy equals the observed one:

    x*, l* = argmin  sum_l || g_l(x, softmax(l)) - g_l ||^2                                  (eq. 4)

| symbol | here |
|---|---|
| x, l | candidate ``images`` (b c h w) and ``labels`` (b k), both from N(0, 1) |
| g_l | ``victim["message"]`` |
| iterations | ``evaluations`` counts function values; the authors' 300 iterations take up to 20 each |

What differs from the authors' code: L-BFGS has a strong Wolfe line search, where theirs takes unit steps. The sum of
squares needs a network smooth enough for curvature to mean something: on ReLU with max-pooling it stalls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import squared_distance
from leakward.attacks.searching.replay import gather
from leakward.attacks.solvers import LBFGS, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class DLG(Attack):
    """Match the gradient in image and label together.

    Attributes:
        evaluations: Function values per start, at least 1.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        history: Curvature pairs of L-BFGS, at least 1.
        averaged: Draws of a defence's randomness that an aware attacker averages over, at least 1.
    """

    evaluations: int = 3000
    restarts: int = 1
    history: int = 100
    averaged: int = 4

    paper: ClassVar[str] = "Zhu, Liu and Han 2019, arXiv:1906.08935"
    cost: ClassVar[str] = "L-BFGS, 3,000 evaluations"

    def __post_init__(self) -> None:
        check(
            self,
            whole("evaluations", self.evaluations),
            whole("restarts", self.restarts),
            whole("history", self.history),
            whole("averaged", self.averaged),
        )

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover images and labels."""
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged, labels=False)
        classes = observations[0].task.spec.num_classes
        shape = observations[0].shape

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> torch.Tensor:
            probabilities = candidate["labels"].softmax(-1)
            found = victims.replay.message(candidate["images"], probabilities, victim, draws)
            return squared_distance(found, victim["message"], victim.get("weight"))

        start = {
            "images": torch.randn(victims.trials, *shape, generator=rng),
            "labels": torch.randn(victims.trials, shape[0], classes, generator=rng),
        }
        problem = Problem(objective, start, victims.for_trials(), victims.replay.draw)
        solution = LBFGS(self.evaluations, self.history).solve(problem, rng, progress)
        return victims.choose(solution, solution.best["labels"].argmax(-1))
