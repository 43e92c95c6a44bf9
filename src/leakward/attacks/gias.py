"""Gradient inversion in alternative spaces: Jeon et al. 2021 (arXiv:2110.14962), Algorithm 1.

First a code for each image, then a generator for each image:

    z*_i = argmin over z  d(G_w(z)) + alpha TV(G_w(z))                                       (eq. 8)
    w*_i = argmin over w_1, ..., w_b  d(G_w1(z*_1), ...) + alpha TV(...)                     (eq. 9)
    d(x) = 1 - <g(x), g> / (|g(x)| |g|)

The second search can leave what the generator was trained to make, but starts there, and the layers of a generator
still prefer images to noise.

| symbol | here |
|---|---|
| z | candidate ``latent`` (b d), N(0, 1) at the start |
| w | candidates by the names of the generator's weights, each (b *shape): one generator per image |
| G | a saved ``prior``, or one trained on the attacker's public images |
| g | ``victim["message"]`` |
| alpha | ``total_variation`` |
| rates | ``learning_rate``, ``weight_rate``, both divided by 10 at 3/8, 5/8 and 7/8 |

What differs from the authors' code: every restart goes through both searches, where theirs continues with the best
code; the best iterate by the attacker's own objective is kept, not the last; the generator is small, so that the
search over its weights takes as many steps as that over codes, or twice as many, instead of eight to ten times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import vmap

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.generative import better, draw_codes, obtain, prior_within_reach, shown
from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import Adam, Draws, Problem, Progress, span
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, not_negative, positive, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class GIAS(Attack):
    """Search a generator's latent codes, then its weights.

    Attributes:
        prior: Path of a saved prior; if empty, one is trained on the attacker's public images.
        passes: Over the public images in that training, at least 1.
        iterations: Steps of the search over codes, at least 1.
        learning_rate: Of Adam in that search.
        weight_factor: The search over weights takes so many times the steps, at least 1.
        weight_rate: Of Adam in the search over weights.
        total_variation: Weight of the image prior, at least 0.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, at least 1.
    """

    prior: str = ""
    passes: int = 50
    iterations: int = 500
    learning_rate: float = 0.03
    weight_factor: int = 2
    weight_rate: float = 1e-3
    total_variation: float = 1e-6
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Jeon et al. 2021, arXiv:2110.14962"
    cost: ClassVar[str] = "a prior trained on public images; Adam, 1,500 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("passes", self.passes),
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            whole("weight_factor", self.weight_factor),
            positive("weight_rate", self.weight_rate),
            not_negative("total_variation", self.total_variation),
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
        known, images = victims.for_trials(), observations[0].update.images

        def loss(images: Tensor, victim: Victim, draws: Draws) -> Tensor:
            found = victims.replay.message(images, victim["labels"], victim, draws)
            distance = cosine_distance(found, victim["message"], victim.get("weight"))
            return distance + self.total_variation * total_variation(images)

        def coded(candidate: Tensors, victim: Victim) -> Tensor:
            del victim
            return generator.forward(state, candidate["latent"])

        def by_own_weights(candidate: Tensors, victim: Victim) -> Tensor:
            return vmap(lambda weights, code: generator.forward(weights, code[None])[0])(candidate, victim["latent"])

        start = {"latent": draw_codes(generator, victims.trials, images, rng)}
        problem = Problem(lambda c, v, draws: loss(coded(c, v), v, draws), start, known, victims.replay.draw)
        turn = 1 / (1 + self.weight_factor)
        codes = Adam(self.iterations, self.learning_rate, "step").solve(problem, rng, span(progress, 0.0, turn))

        each = {n: v.expand(victims.trials, images, *v.shape).clone() for n, v in state.items()}
        known_codes = known | {"latent": codes.best["latent"]}
        problem = Problem(
            lambda c, v, draws: loss(by_own_weights(c, v), v, draws), each, known_codes, victims.replay.draw
        )
        solver = Adam(self.weight_factor * self.iterations, self.weight_rate, "step")
        weights = solver.solve(problem, rng, span(progress, turn, 1.0))
        found = better(shown(weights, by_own_weights, known_codes), shown(codes, coded, known))
        return victims.choose(found, known["labels"])
