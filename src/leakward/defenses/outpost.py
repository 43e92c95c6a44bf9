"""OUTPOST: Wang, Hugh and Li 2023, "Adaptive defenses against gradient leakage in production federated learning".

    at the t-th local step of a round, with probability 1 / (1 + b t), for gradient g_l and weights w_l of each tensor,

    g'_lj = g_lj [|g_lj| >= q_p(|g_l|)] + n_lj [g_lj^2 >= q_(1 - f)(g^2)],   n_lj ~ N(0, (a min(Var w_l, 1))^2)

| symbol | field |
|---|---|
| b | ``decay`` |
| p | ``ratio`` |
| a | ``scale`` |
| f | ``noisy`` |

``q_p`` is the p-quantile, of |g_l| in each tensor and of g^2 over all of them. Var w_l is what the authors take for the
risk of a layer, and g^2 for the diagonal of the Fisher information. Entries equal to a quantile reach it: where more
than the share 1 - f of a gradient is zero, as in networks with many dead units, noise falls on all of it.

An attacker who knows of it replays the pruning, which is what a perturbed gradient is on average, and trusts
everything: what was pruned is small. Trusting only what was sent, or what stands above the noise, recovered less.
Pruning jumps, which stops searches without a prior, so the attacker also replays the undefended client.
Several local steps are pruned one by one, and the replay prunes their sum.

Equations and defaults are those of the authors' code (TL-System/plato), since the paper's text was not at hand. What
differs from that code: it returns the gradients it was given, so that it defends nothing; it counts t as the epoch
times the number of the step in it; it takes the mean of the squares over the first axis of each tensor; it takes the
same noise at every step; its variance has n - 1 in the denominator.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leakward.defenses.pruning import Pruning
from leakward.defenses.vectors import largest
from leakward.federated import Defense
from leakward.federated.defense import Step
from leakward.fields import check, not_negative
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors

STEPS = "outpost.steps"
"""The helper that counts the local steps of the round."""


@dataclass(frozen=True)
class Outpost(Defense):
    """Prune the gradients of early steps, and add noise to the entries that say most.

    Attributes:
        decay: How fast the probability of a perturbation falls with the local steps, at least 0.
        ratio: Share of the entries of each tensor that are set to zero, in [0, 1).
        scale: Standard deviation of the noise in units of the variance of a tensor's weights, at least 0.
        noisy: Share of all entries that get noise, in (0, 1].
    """

    decay: float = 0.125
    ratio: float = 0.8
    scale: float = 0.8
    noisy: float = 0.4

    def __post_init__(self) -> None:
        check(
            self,
            not_negative("decay", self.decay),
            ("ratio", self.ratio, "a number in [0, 1)", 0 <= self.ratio < 1),
            not_negative("scale", self.scale),
            ("noisy", self.noisy, "a number in (0, 1]", 0 < self.noisy <= 1),
        )

    @property
    def keeps_private(self) -> bool:
        """Return that it keeps a count."""
        return True

    @property
    def jumps(self) -> bool:
        """Return that pruning does: which entries are the largest changes all at once."""
        return True

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        """Start to count."""
        del tape
        return {STEPS: torch.zeros_like(next(iter(task.split(state)[0].values())).flatten()[0])}

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Count."""
        del task, parameters, tape
        return replace(step, private=step.private | {STEPS: step.private[STEPS] + 1})

    def on_gradient(self, task: Task, parameters: Tensors, step: Step, gradient: Tensors, tape: Tape) -> Tensors:
        """Perturb the gradient, or leave it as it is."""
        del task
        now = tape.uniform((), step.images) * (1 + self.decay * step.private[STEPS]) < 1
        noise = {n: self._noise(parameters[n], tape) for n in gradient}
        telling = self._telling(gradient)
        return {
            n: torch.where(now, g * largest(g.detach().abs(), self.ratio) + noise[n] * telling[n], g)
            for n, g in gradient.items()
        }

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Count from the start again in the next round."""
        del tape
        return message, private | {STEPS: torch.zeros_like(private[STEPS])}

    def replay(self) -> Defense:
        """Replay the pruning, which is what a perturbed gradient is on average."""
        return Pruning(self.ratio)

    def _noise(self, weights: Tensor, tape: Tape) -> Tensor:
        risk = weights.detach().var(correction=0).clamp(max=1)
        return self.scale * risk * tape.normal(tuple(weights.shape), weights)

    def _telling(self, gradient: Tensors) -> Tensors:
        every = torch.cat([value.detach().abs().flatten() for value in gradient.values()])
        parts = largest(every, 1 - self.noisy).split([value.numel() for value in gradient.values()])
        return {n: part.view_as(value) for (n, value), part in zip(gradient.items(), parts, strict=True)}
