"""InstaHide within a data set: Huang et al. 2020, "InstaHide" (arXiv:2010.02772, ICML).

    x'_i = m + s_i * (sum_j l_ij x_p_j(i) - m),   y'_i = sum_j l_ij y_p_j(i),   j = 1 .. k
    l_ij >= 0,   sum_j l_ij = 1,   l_ij <= c,   s_i in {-1, 1}^d,   p_1 = identity, p_2 .. p_k random permutations

| symbol | field |
|---|---|
| k | ``mixed`` |
| c | ``bound`` |
| m | per channel what the network subtracts; 1/2 where it subtracts nothing |
| l, p, s | drawn anew at every step, l and s for every image |

Carlini et al. 2021 (arXiv:2011.05315) broke it: |x' - m| does not depend on s, so that it tells which mixtures have an
image in common, and from enough of them come the images. That takes many messages and no gradient matching; no attack
here does it. The one who knows of InstaHide replays the undefended client, and at best recovers mirrored mixtures: on
pairs of images that came closer than replaying fresh draws, whose signs cancel, and far less close than the oracle.

What differs from the paper: its coefficients are drawn again until none exceeds c; here those of an image that has one
above c are moved towards 1/k until it is c, since a replay cannot branch. As in the authors' code they are the sizes of
normal numbers, divided by their sum. Images are mixed within a step, not among all that a client holds, and anew at
every step, not once an epoch: fewer partners, more mixtures.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.defenses.mixing import ImageMixing, permutation, probabilities
from leakward.federated import Defense, NoDefense
from leakward.federated.defense import Step
from leakward.fields import check, whole
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class InstaHide(ImageMixing):
    """Train on mixtures of several images, every pixel of which is mirrored at random.

    Attributes:
        mixed: Images of a mixture, at least 2; in a step of fewer, some enter a mixture more than once.
        bound: Largest coefficient, in [1 / mixed, 1].
    """

    mixed: int = 4
    bound: float = 0.65

    def __post_init__(self) -> None:
        check(self, whole("mixed", self.mixed, 2))
        check(
            self, ("bound", self.bound, f"a number in [1/{self.mixed}, 1]", 1 <= self.bound * self.mixed <= self.mixed)
        )

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Mix images and labels, and mirror pixels."""
        del parameters
        images, count = step.images, len(step.images)
        self.require_partners(images)
        share = bounded(tape.normal((count, self.mixed), images).abs(), self.bound)
        others = [permutation(count, tape, images) for _ in range(self.mixed - 1)]
        labels = probabilities(step.labels, task.spec.num_classes, images)
        middle = torch.tensor(task.spec.mean or (0.5,), dtype=images.dtype, device=images.device)[:, None, None]
        mixture = _mixture(images, share, others)
        kept = tape.uniform(tuple(images.shape), images) < 0.5
        return replace(
            step,
            images=torch.where(kept, mixture, 2 * middle - mixture),
            labels=_mixture(labels, share, others),
        )

    def replay(self) -> Defense:
        """Replay the undefended client: over fresh signs every image would be the middle."""
        return NoDefense()


def bounded(size: Float[Tensor, "b k"], bound: float) -> Float[Tensor, "b k"]:
    """Divide by the sum, and move towards 1/k what then has an entry above ``bound``, until it is ``bound``."""
    share, even = size / size.sum(1, keepdim=True), 1 / size.shape[1]
    most = share.amax(1, keepdim=True)
    return torch.where(most > bound, even + (share - even) * (bound - even) / (most - even), share)


def _mixture(values: Tensor, share: Float[Tensor, "b k"], others: list[Tensor]) -> Tensor:
    parts = torch.stack([values, *(values[order] for order in others)])
    return torch.einsum("kb...,bk->b...", parts, share)
