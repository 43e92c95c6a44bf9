"""Generative gradient leakage: Li, Zhang, Liu and Liu 2022 (arXiv:2203.15696).

Among the images that a generator can make, find the one whose message fits:

    z* = argmin  1/L sum_l || g_l(G(z), c) - g_l ||^2 + lambda R(z)                          (eq. 5)
    R(z) = 1/2 (s^2 + m^2 - 1 - log s^2),   m, s: mean and standard deviation of the numbers in z

The search sees values only (CMA-ES), since derivatives mislead where a defence has bent the message; Adam is there to
compare. What the authors estimate of a defence and apply to the dummy's gradient is ``replay`` and ``evidence`` here.

| symbol | here |
|---|---|
| z | candidate ``latent`` (b d) |
| G | a saved ``prior``, or one trained on the attacker's public images |
| c | ``victim["labels"]``, by ``labels.single_label`` |
| g_l | ``victim["message"]``, L tensors |
| lambda | ``divergence`` |

What differs from the authors' code: the generator is small and knows no classes; z is left free where they take its
tanh; CMA-ES is our own, keeps the best value it saw and starts at the mean code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.generative import draw_codes, obtain, prior_within_reach, shown
from leakward.attacks.searching.matching import squared_distance
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import Adam, Draws, Problem, Progress
from leakward.attacks.solvers.cma_es import CMAES
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, not_negative, one_of, positive, whole
from leakward.threat import Observation
from leakward.types import Tensors

Search = Literal["cma-es", "adam"]
TINY = 1e-10


@dataclass(frozen=True)
class GGL(Attack):
    """Search the latent codes of a generator for the one whose message fits.

    Attributes:
        prior: Path of a saved prior; if empty, one is trained on the attacker's public images.
        passes: Over the public images in that training, at least 1.
        search: ``cma-es`` sees values only; ``adam`` follows derivatives.
        iterations: Generations of CMA-ES or steps of Adam, at least 1.
        population: Codes per generation of CMA-ES, at least 4.
        learning_rate: Of Adam.
        divergence: Weight of the distance of a code's numbers from N(0, 1), at least 0.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, at least 1.
    """

    prior: str = ""
    passes: int = 50
    search: Search = "cma-es"
    iterations: int = 300
    population: int = 30
    learning_rate: float = 0.1
    divergence: float = 0.1
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Li et al. 2022, arXiv:2203.15696"
    cost: ClassVar[str] = "a prior trained on public images; CMA-ES, 9,000 evaluations without derivatives"

    def __post_init__(self) -> None:
        check(
            self,
            whole("passes", self.passes),
            one_of("search", self.search, get_args(Search)),
            whole("iterations", self.iterations),
            whole("population", self.population, least=4),
            positive("learning_rate", self.learning_rate),
            not_negative("divergence", self.divergence),
            whole("restarts", self.restarts),
            whole("averaged", self.averaged),
        )

    def files(self) -> tuple[Path, ...]:
        """Return the saved prior, if one is named."""
        return (Path(self.prior),) if self.prior else ()

    def applies(self, observation: Observation) -> bool:
        """Return whether there is a prior, and the labels are granted or can be read off the message."""
        return prior_within_reach(observation, self.prior) and labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, given or inferred labels."""
        generator, state, progress = obtain(observations, self.prior, self.passes, progress)
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged)

        def show(candidate: Tensors, victim: Victim) -> Tensor:
            del victim
            return generator.forward(state, candidate["latent"])

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
            found = victims.replay.message(show(candidate, victim), victim["labels"], victim, draws)
            distance = squared_distance(found, victim["message"], victim.get("weight")) / len(found)
            return distance + self.divergence * normal_divergence(candidate["latent"])

        trials, images = victims.trials, observations[0].update.images
        if self.search == "cma-es":
            solver = CMAES(self.iterations, self.population)
            start = {"latent": torch.zeros(trials, images, generator.latent)}
        else:
            solver = Adam(self.iterations, self.learning_rate)
            start = {"latent": draw_codes(generator, trials, images, rng)}
        problem = Problem(objective, start, victims.for_trials(), victims.replay.draw)
        solution = solver.solve(problem, rng, progress)
        return victims.choose(shown(solution, show, problem.victims), problem.victims["labels"])


def normal_divergence(latent: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return the divergence of N(m, s^2) from N(0, 1), with m and s of each code's numbers; its mean over codes."""
    variance, mean = torch.var_mean(latent, dim=1, correction=0)
    return 0.5 * (variance + mean.square() - 1 - (variance + TINY).log()).mean()
