"""How likely an answer is to an attacker: by the message it explains, and by the public images it resembles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import entries, unexplained
from leakward.attacks.searching.principal_components import PrincipalComponents
from leakward.attacks.searching.replay import Victims, gather
from leakward.attacks.solvers import Draws
from leakward.attacks.solvers.problem import select
from leakward.threat import Observation

AVERAGED = 8
"""Draws of a defence's randomness over which the message of an answer is averaged."""
COMPONENTS = 500
EXPLAINED = math.log(1e-9)
"""``unexplained`` of a message that is explained as well as single precision can tell."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares answers to the same observations.

    Attributes:
        victims: The observations in double precision.
        draws: Randomness that every answer is replayed with.
        prior: Of public images; None if the attacker holds too few.
        broken: Of each victim, whether its message is not finite.
    """

    victims: Victims
    draws: Draws
    prior: PrincipalComponents | None
    broken: tuple[bool, ...]

    @staticmethod
    def of(observations: Sequence[Observation], rng: torch.Generator) -> "Judge":
        """Return a judge of answers to ``observations``, which are alike."""
        victims = gather(observations, restarts=1, averaged=AVERAGED, labels=False, dtype=torch.float64)
        public = observations[0].public
        prior = None
        if public is not None and len(public) > 1:
            prior = PrincipalComponents.calibrated(public.images.double(), COMPONENTS)
        finite = [all(bool(torch.isfinite(v).all()) for v in o.update.tensors.values()) for o in observations]
        return Judge(victims, victims.replay.draw(rng), prior, tuple(not ok for ok in finite))

    def judged(self, victim: int, found: Reconstruction) -> tuple[Reconstruction, bool]:
        """Return an answer with how unlikely it is as its objective, and whether it leaves nothing to explain."""
        if found.images is None or found.labels is None or self.broken[victim]:
            return replace(found, objective=math.inf), False
        images, seen = found.images.double(), select(self.victims.tensors, victim)
        target, weight = seen["message"], seen.get("weight")
        message = self.victims.replay.message(images, found.labels, seen, self.draws)
        left = max(float(unexplained(message, target, weight)), EXPLAINED)
        freedom = min(float(entries(target, weight)), images.numel())
        value = left + self._surprise(images) / freedom
        return replace(found, objective=value if math.isfinite(value) else math.inf), left == EXPLAINED

    def _surprise(self, images: Float[Tensor, "b c h w"]) -> float:
        """Return how unlikely images are, each at least as much as a typical one: nearer to the mean is no virtue."""
        if self.prior is None:
            return 0.0
        return sum(max(float(self.prior.unlikeliness(image[None])), float(image.numel())) for image in images)
