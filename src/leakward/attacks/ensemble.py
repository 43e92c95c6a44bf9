"""Ensemble: a fixed sequence of diverse attacks, as AutoAttack is for adversarial examples.

After Croce and Hein 2020 (arXiv:2003.01690, section 4): no single attack is the strongest on every network and against
every defence, and tuning one per case measures the patience of whoever tunes. So all members run with their own
settings, and for each victim the answer is kept that the attacker finds most likely, given the message it saw and the
public images it holds, if any:

    log(1 - c^2) + max(d, (x - m)' C^-1 (x - m)) / N,      c = <g(x), g> / (|g(x)| |g|)

nearly the objective of gaussian_prior.py, in double precision, with the client replayed on draws that all answers
share. m and C are mean and covariance of public images, d the number of pixel values of an answer, which is how
unlikely images are on average: an average of images is likelier under that Gaussian than any image is, and explains
less. N counts the entries of the message, or the pixels where these are fewer: a message is a function of them, and
what a search leaves unexplained has no more freedom than that. The truth is never looked at.

Members that compute their answer come first: where one explains the messages to single precision, the search is over.
R-GAP is none of them, for what its least squares cost.

What differs from AutoAttack: it keeps whatever fools the network, which anyone can check. Here nobody can but the
client, so members are compared by likelihood, which may err under noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from leakward.attacks.analytic_linear import AnalyticLinear
from leakward.attacks.attack import Attack, Reconstruction
from leakward.attacks.fedavg_inversion import FedAvgInversion
from leakward.attacks.fl_gradient_inversion import FLGradientInversion
from leakward.attacks.gaussian_prior import GaussianPrior
from leakward.attacks.gradinversion import GradInversion
from leakward.attacks.idlg import IDLG
from leakward.attacks.inverting_gradients import InvertingGradients
from leakward.attacks.learning_to_invert import LearningToInvert
from leakward.attacks.searching.likelihood import Judge
from leakward.attacks.solvers import Progress, Status, span
from leakward.attacks.spear import SPEAR
from leakward.fields import check, whole
from leakward.threat import Observation
from leakward.types import generator

SIMULATED, PER_STEP = 2048, 16
"""Clients that learning to invert simulates here, at most and per step of the others: with more it would cost most."""


@dataclass(frozen=True)
class Ensemble(Attack):
    """Run diverse attacks and keep, per victim, the answer most likely by the attacker's own measure.

    Attributes:
        iterations: Steps of every member that searches, at least 1.
    """

    iterations: int = 500

    paper: ClassVar[str] = "in the spirit of Croce and Hein 2020, arXiv:2003.01690"
    cost: ClassVar[str] = "up to eight members of 500 steps"

    def __post_init__(self) -> None:
        check(self, whole("iterations", self.iterations))

    def members(self) -> dict[str, Attack]:
        """Return the members in their order, by the name that a result is labelled with."""
        steps = self.iterations
        return {
            "analytic-linear": AnalyticLinear(),
            "spear": SPEAR(),
            "gaussian-prior": GaussianPrior(steps),
            "idlg": IDLG(steps),
            "inverting-gradients": InvertingGradients(steps),
            "inverting-gradients(total_variation=0.01)": InvertingGradients(steps, total_variation=1e-2),
            "gradinversion": GradInversion(steps),
            "fl-gradient-inversion": FLGradientInversion(steps),
            "fedavg-inversion": FedAvgInversion(steps),
            "learning-to-invert": LearningToInvert(steps, simulated=min(SIMULATED, PER_STEP * steps)),
        }

    def applies(self, observation: Observation) -> bool:
        """Return whether any member can attack."""
        return any(member.can_attack(observation) for member in self.members().values())

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Let every member recover the images, and choose."""
        members = self.members()
        seeds = torch.randint(2**62, (len(members) + 1,), generator=rng).tolist()
        judge = Judge.of(observations, generator(seeds.pop()))
        best = [Reconstruction(None, None, float("inf"), Status.NON_FINITE)] * len(observations)
        evaluations, settled = [0] * len(observations), [*judge.broken]
        for place, ((name, member), seed) in enumerate(zip(members.items(), seeds, strict=True)):
            if all(settled):
                break
            found = member.recover(
                observations, generator(seed), span(progress, place / len(members), (place + 1) / len(members))
            )
            for i, one in enumerate(found):
                judged, explained = judge.judged(i, replace(one, member=name))
                best[i] = min(best[i], judged, key=lambda r: r.objective)
                evaluations[i] += one.evaluations
                settled[i] |= explained
        progress(1.0)
        return [replace(one, evaluations=count) for one, count in zip(best, evaluations, strict=True)]
