"""Inversion under a Gaussian prior of public images, after Balunović et al. 2022 (arXiv:2111.04706).

A Bayesian attacker maximises ``log p(g | x) + log p(x)`` (their eq. 4). Here ``p(x)`` is the Gaussian that public
images suggest, as probabilistic principal components (Tipping and Bishop 1999; principal_components.py), and the search
is for the standard normal numbers behind an image. The message is the candidate's, up to length, in normal noise; its
unknown power, put at its most likely value, leaves the logarithm of the share that is not explained:

    x = [m + W z + s e],    z ~ N(0, I),  e ~ N(0, I)
    z*, e* = argmin  log(1 - c^2) + (|z|^2 + |e|^2) / N,      c = <g(x), g> / (|g(x)| |g|)

with [.] for the nearest values in [0, 1], which are all that images have; where it cuts, the prior alone pulls back.
So no weight has to be chosen: far from the message, or under noise, the prior leads; close to it, the message does.
The prior is also a better metric: a gradient says little about fine detail, so that pixels are a badly conditioned
choice of unknowns, where a step in z changes an image as images differ.

| symbol | here |
|---|---|
| m, W, s | fitted to ``observation.public`` |
| z, e | candidates ``components`` (b q) and ``remainder`` (b c h w), 0 at the first start |
| q | ``components``, at most half the number of public images |
| N | entries of the message, each counted by the trust in it |

What differs from the authors' code: they know the noise of the defence and write its density down; here its power is
profiled out, and what is known of a defence enters through what is replayed. Their priors were total variation and a
network that scores gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import vmap

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import entries, unexplained
from leakward.attacks.searching.principal_components import PrincipalComponents
from leakward.attacks.searching.replay import Victims, gather, labels_known
from leakward.attacks.solvers import Adam, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, positive, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class GaussianPrior(Attack):
    """Match the direction of the message in the principal components of public images.

    Attributes:
        iterations: Steps per start, at least 1.
        learning_rate: Of Adam, in standard deviations of the prior.
        components: Principal components, at least 1.
        restarts: Starts per victim: the mean image, then samples of the prior; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, fresh at every step, at least 1.
    """

    iterations: int = 500
    learning_rate: float = 0.1
    components: int = 500
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "after Balunović et al. 2022, arXiv:2111.04706"
    needs: ClassVar[tuple[str, ...]] = ("update", "state", "public")
    cost: ClassVar[str] = "Adam, 500 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            whole("components", self.components),
            whole("restarts", self.restarts),
            whole("averaged", self.averaged),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether there are public images enough for a variance, and labels are granted or can be read off."""
        public = observation.public
        return public is not None and len(public) > 1 and labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, given or inferred labels."""
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged)
        prior = self._prior(observations[0])
        start = prior.sample(victims.trials, observations[0].shape[0], rng)
        for value in start.values():
            value[:: self.restarts] = 0
        return self._search(victims, prior, start, rng, progress)

    def refine(
        self,
        observations: Sequence[Observation],
        answers: Sequence[Reconstruction],
        rng: torch.Generator,
        progress: Progress = lambda _: None,
    ) -> list[Reconstruction]:
        """Search on from answers of other attacks, once from each and with its labels.

        Args:
            observations: To which the attack applies.
            answers: To each of them, with images.
            rng: The attacker's own randomness.
            progress: Called with the fraction done.
        """
        given = [(one.images, one.labels) for one in answers if one.images is not None and one.labels is not None]
        images, labels = (torch.stack(values) for values in zip(*given, strict=True))
        victims = gather(observations, restarts=1, averaged=self.averaged, labels=False)
        prior = self._prior(observations[0])
        labelled = replace(victims, tensors=victims.tensors | {"labels": labels})
        return self._search(labelled, prior, vmap(prior.encode)(images), rng, progress)

    def _prior(self, observation: Observation) -> PrincipalComponents:
        assert observation.public is not None  # applies
        return PrincipalComponents.calibrated(observation.public.images, self.components)

    def _search(
        self, victims: Victims, prior: PrincipalComponents, start: Tensors, rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
            images = prior.decode(candidate).clamp(0, 1)
            found = victims.replay.message(images, victim["labels"], victim, draws)
            seen, weight = victim["message"], victim.get("weight")
            return unexplained(found, seen, weight) + prior.surprise(candidate) / entries(seen, weight)

        problem = Problem(objective, start, victims.for_trials(), victims.replay.draw)
        solution = Adam(self.iterations, self.learning_rate, schedule="cosine").solve(problem, rng, progress)
        found = replace(solution, best={"images": vmap(prior.decode)(solution.best)})
        return victims.choose(found, problem.victims["labels"])
