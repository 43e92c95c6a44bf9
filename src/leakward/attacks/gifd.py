"""Generative gradient inversion by feature domain optimisation: Fang et al. 2023 (arXiv:2308.04699), Algorithm 1.

After the latent code, one feature map after another is set free, the deeper ones before the later ones:

    z* = argmin  d(G(z)) + alpha TV(G(z)),   h_1 = G_1(z*)                                   (eq. 6)
    h_k* = argmin over |h - h_k|_1 <= r_k  d(G_rest(h)) + alpha TV(...),   h_{k+1} = G_k(h_k*)   (eq. 7)
    d(x) = 1 - <g(x), g> / (|g(x)| |g|)

The answer is the image with the smallest objective over all stages.

| symbol | here |
|---|---|
| z | candidate ``latent`` (b d), N(0, 1) at the start |
| h - h_k | candidate ``change`` (b c h w), 0 at the start, projected to the l1 ball after every step |
| G_k | stage k of a saved ``prior``, or of one trained on the attacker's public images |
| g | ``victim["message"]`` |
| alpha | ``total_variation`` |
| r_k | ``radius`` times the numbers in the feature map |

What differs from the authors' code: the radius grows with the feature map instead of by steps of 500 or 1,000 set for
one network; the rate is 0.03 instead of 0.1, and falls by a cosine without its rise over the first 5 %; total variation
weighs 1e-6 instead of 1e-4, which outweighs the distance on networks whose gradients are alike; a stage continues from
the best iterate of the one before, not the last; codes are not kept on a sphere; the weak penalty on the image's norm
is left out; entries of the message that a defence has made zero are not matched by an attacker who knows of it
(``evidence``), theirs by none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import vmap

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.generative import better, draw_codes, obtain, prior_within_reach, shown
from leakward.attacks.searching.l1_ball import project
from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import Adam, Draws, Problem, Progress, Solution, span
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, not_negative, positive, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class GIFD(Attack):
    """Search a generator's latent codes, then its feature maps one after another.

    Attributes:
        prior: Path of a saved prior; if empty, one is trained on the attacker's public images.
        passes: Over the public images in that training, at least 1.
        iterations: Steps of every stage, at least 1.
        learning_rate: Of Adam in every stage.
        radius: Mean change of the numbers in a feature map, at most; above 0.
        total_variation: Weight of the image prior, at least 0.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, at least 1.
    """

    prior: str = ""
    passes: int = 50
    iterations: int = 400
    learning_rate: float = 0.03
    radius: float = 0.2
    total_variation: float = 1e-6
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Fang et al. 2023, arXiv:2308.04699"
    cost: ClassVar[str] = "a prior trained on public images; Adam, 400 steps per stage"

    def __post_init__(self) -> None:
        check(
            self,
            whole("passes", self.passes),
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            positive("radius", self.radius),
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
        known, stages = victims.for_trials(), len(generator.stages)
        solver = Adam(self.iterations, self.learning_rate, "cosine")

        def search(stage: int, features: Tensor) -> tuple[Tensor, Solution]:
            """Return the best input of a stage (t b *f), and the images it becomes."""

            def show(candidate: Tensors, victim: Victim) -> Tensor:
                return generator.forward(state, victim["features"] + candidate["change"], stage)

            def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
                images = show(candidate, victim)
                message = victims.replay.message(images, victim["labels"], victim, draws)
                distance = cosine_distance(message, victim["message"], victim.get("weight"))
                return distance + self.total_variation * total_variation(images)

            start, here = {"change": torch.zeros_like(features)}, known | {"features": features}
            bound = partial(_project, radius=self.radius) if stage > 0 else _free
            problem = Problem(objective, start, here, victims.replay.draw, project=bound)
            solution = solver.solve(problem, rng, span(progress, stage / stages, (stage + 1) / stages))
            return features + solution.best["change"], shown(solution, show, here)

        codes = draw_codes(generator, victims.trials, observations[0].update.images, rng)
        features, found = search(0, codes.to(known["labels"].device))
        for stage in range(1, stages):
            features = vmap(partial(generator.advance, state, stage=stage - 1))(features)
            features, images = search(stage, features)
            found = better(images, found)
        return victims.choose(found, known["labels"])


def _project(candidates: Tensors, radius: float) -> Tensors:
    """Keep the change of every image's feature map within an l1 ball of ``radius`` per number."""
    change = candidates["change"]
    rows = change.flatten(0, 1).flatten(1)
    return {"change": project(rows, radius * rows.shape[1]).view(change.shape)}


def _free(candidates: Tensors) -> Tensors:
    return candidates
