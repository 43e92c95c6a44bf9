"""Inverting Gradients: Geiping, Bauermeister, Droege and Moeller 2020 (arXiv:2003.14053).

Only the direction of the message is matched, under a prior of smooth images, and only the sign of the derivative is
followed:

    x* = argmin over [0, 1]^n  1 - <g(x), g> / (|g(x)| |g|) + alpha TV(x)                   (eq. 4)

``g`` is a gradient, or the change of the weights over several local steps (section 6), which is simulated and
differentiated: the same client either way.

| symbol | here |
|---|---|
| x | candidate ``images`` (b c h w), N(0, 1) after normalisation at the start, kept in [0, 1] after every step |
| g | ``victim["message"]`` |
| alpha | ``total_variation`` |
| iterations, step | ``iterations``, ``learning_rate``, divided by 10 at 3/8, 5/8 and 7/8 |

What differs from the authors' code: the best iterate by the attacker's own objective is kept, not the last; restarts
are compared by the whole objective; labels are inferred unless the threat model grants them. The prior's weight lies
between the authors' 1e-6 (notebooks) and 1e-1 (library default); fewer iterations than their 4,000 to 24,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import Adam, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, not_negative, positive, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class InvertingGradients(Attack):
    """Match the direction of the message under a total-variation prior.

    Attributes:
        iterations: Steps per start, at least 1.
        learning_rate: Of signed Adam, in pixel values.
        total_variation: Weight of the prior, at least 0.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, fresh at every step, at least 1.
    """

    iterations: int = 1000
    learning_rate: float = 0.1
    total_variation: float = 1e-4
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Geiping et al. 2020, arXiv:2003.14053"
    cost: ClassVar[str] = "signed Adam, 1,000 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            not_negative("total_variation", self.total_variation),
            whole("restarts", self.restarts),
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
            distance = cosine_distance(found, victim["message"], victim.get("weight"))
            return distance + self.total_variation * total_variation(candidate["images"])

        noise = torch.randn(victims.trials, *observations[0].shape, generator=rng)
        start = {"images": observations[0].task.denormalize(noise)}
        problem = Problem(objective, start, victims.for_trials(), victims.replay.draw, box=("images",))
        solver = Adam(self.iterations, self.learning_rate, schedule="step", signed=True)
        solution = solver.solve(problem, rng, progress)
        return victims.choose(solution, problem.victims["labels"])
