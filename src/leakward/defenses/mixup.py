"""Mixup: Zhang et al. 2018, "mixup: Beyond empirical risk minimization" (arXiv:1710.09412, ICLR).

    x'_i = l x_i + (1 - l) x_p(i),   y'_i = l y_i + (1 - l) y_p(i),   l ~ Beta(a, a),   p a random permutation

| symbol | field |
|---|---|
| a | ``alpha`` |
| l, p | drawn anew at every step, one for all its images |

A tape has no beta distribution, but two of its uniform numbers make one, exactly and for every a > 0: with 2a degrees
of freedom, Bailey's polar form of Student's t (1994, Math. Comp. 62) is t = sqrt(2a (u^(-1/a) - 1)) cos(2 pi v), and
1/2 + t / (2 sqrt(2a + t^2)) has the law Beta(a, a) (Devroye 1996, "Random variate generation in one line of code").

An attacker who knows of it replays the undefended client and takes the mixtures for the images. On pairs of images that
recovered more than replaying the mixing, with fresh draws or at its mean.

Where a is small, l is close to 0 or 1, and the step is close to one on the images as they are. A permutation may leave
images where they were, and then mixes nothing.

What differs from the authors' code: they weigh two losses by l and 1 - l, which is the same for cross-entropy.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.defenses.mixing import ImageMixing, permutation, probabilities
from leakward.federated import Defense, NoDefense
from leakward.federated.defense import Step
from leakward.fields import check, positive
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class Mixup(ImageMixing):
    """Train on convex combinations of pairs of images and of their labels.

    Attributes:
        alpha: Of the beta distribution of the weights; the larger, the more even the mixtures. Above 0.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check(self, positive("alpha", self.alpha))

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Mix every image with a partner."""
        del parameters
        self.require_partners(step.images)
        share = symmetric_beta(self.alpha, tape.uniform((2,), step.images))
        partner = permutation(len(step.images), tape, step.images)
        labels = probabilities(step.labels, task.spec.num_classes, step.images)
        return replace(
            step,
            images=torch.lerp(step.images[partner], step.images, share),
            labels=torch.lerp(labels[partner], labels, share),
        )

    def replay(self) -> Defense:
        """Replay the undefended client: a mixture looks like both of its images."""
        return NoDefense()


def symmetric_beta(alpha: float, uniform: Float[Tensor, "2 *n"]) -> Float[Tensor, "*n"]:
    """Turn pairs of uniform numbers into numbers distributed as Beta(alpha, alpha)."""
    small, angle = uniform[0] ** (1 / alpha), torch.cos(2 * math.pi * uniform[1])
    scaled = angle * ((1 - small) / (small + (1 - small) * angle.square())).sqrt()
    return (0.5 + 0.5 * scaled).clamp(0, 1)  # rounding may lead out
