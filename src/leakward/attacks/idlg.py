"""Improved Deep Leakage from Gradients: Zhao, Mopuri and Bilen 2020 (arXiv:2001.02610), Algorithm 1.

The label is read off the last layer first, then only the image is optimised:

    c = argmin_k sum_j dL/dW_kj                                                              (eq. 3)
    x* = argmin  sum_l || g_l(x, c) - g_l ||^2                                               (eq. 5)

| symbol | here |
|---|---|
| c | ``victim["labels"]``, by ``labels.single_label`` |
| x | candidate ``images`` (b c h w), from N(0, 1) |
| g_l | ``victim["message"]`` |

What differs from the authors' code: a strong Wolfe line search; and for batches, which the paper leaves out, labels
are counted from the class biases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import squared_distance
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import LBFGS, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class IDLG(Attack):
    """Infer the label, then match the gradient in the image.

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

    paper: ClassVar[str] = "Zhao, Mopuri and Bilen 2020, arXiv:2001.02610"
    cost: ClassVar[str] = "L-BFGS, 3,000 evaluations"

    def __post_init__(self) -> None:
        check(
            self,
            whole("evaluations", self.evaluations),
            whole("restarts", self.restarts),
            whole("history", self.history),
            whole("averaged", self.averaged),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether the labels are granted or can be read off the message."""
        return labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, given or inferred labels."""
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged)

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> torch.Tensor:
            found = victims.replay.message(candidate["images"], victim["labels"], victim, draws)
            return squared_distance(found, victim["message"], victim.get("weight"))

        start = {"images": torch.randn(victims.trials, *observations[0].shape, generator=rng)}
        problem = Problem(objective, start, victims.for_trials(), victims.replay.draw)
        solution = LBFGS(self.evaluations, self.history).solve(problem, rng, progress)
        return victims.choose(solution, problem.victims["labels"])
