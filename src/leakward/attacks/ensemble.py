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
Last, the search of gaussian_prior.py starts once more, from the answers of learning_to_invert.py, and in smaller steps:
a trained network sees what an image is like and misses detail, which the search adds.
R-GAP is none of them, for what its least squares cost.

What differs from AutoAttack: it keeps whatever fools the network, which anyone can check. Here nobody can but the
client, so members are compared by likelihood, which may err under noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from leakward.attacks.analytic_linear import AnalyticLinear
from leakward.attacks.attack import Attack
from leakward.attacks.fedavg_inversion import FedAvgInversion
from leakward.attacks.fl_gradient_inversion import FLGradientInversion
from leakward.attacks.gaussian_prior import GaussianPrior
from leakward.attacks.gradinversion import GradInversion
from leakward.attacks.idlg import IDLG
from leakward.attacks.inverting_gradients import InvertingGradients
from leakward.attacks.learning_to_invert import LearningToInvert
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.likelihood import Judge
from leakward.attacks.solvers import Progress, Status, span
from leakward.attacks.spear import SPEAR
from leakward.fields import check, whole
from leakward.threat import Observation
from leakward.types import generator

SIMULATED, PER_STEP = 2048, 16
"""Clients that learning to invert simulates here, at most and per step of the others: with more it would cost most."""

CLOSE = 0.03
"""Learning rate of the search that starts at an answer: smaller than that of one which starts at the mean image."""
LEARNED = "learning-to-invert"
"""The member whose answers are refined."""


@dataclass(frozen=True)
class Ensemble(Attack):
    """Run diverse attacks and keep, per victim, the answer most likely by the attacker's own measure.

    Attributes:
        iterations: Steps of every member that searches, at least 1.
    """

    iterations: int = 500

    paper: ClassVar[str] = "in the spirit of Croce and Hein 2020, arXiv:2003.01690"
    composed: ClassVar[bool] = True
    cost: ClassVar[str] = "up to eight members of 500 steps, and 500 more"

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
            LEARNED: LearningToInvert(steps, simulated=min(SIMULATED, PER_STEP * steps)),
        }

    def applies(self, observation: Observation) -> bool:
        """Return whether any member can attack."""
        return any(member.can_attack(observation) for member in self.members().values())

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Let every member recover the images, and choose."""
        members, refiner = self.members(), GaussianPrior(self.iterations, CLOSE)
        *seeds, judging, refining = torch.randint(2**62, (len(members) + 2,), generator=rng).tolist()
        likeliest = _Likeliest(Judge.of(observations, generator(judging)))
        answers: dict[str, list[Reconstruction]] = {}
        for place, ((name, member), seed) in enumerate(zip(members.items(), seeds, strict=True)):
            if likeliest.settled:
                break
            part = span(progress, place / (len(members) + 1), (place + 1) / (len(members) + 1))
            answers[name] = member.recover(observations, generator(seed), part)
            for victim, one in enumerate(answers[name]):
                likeliest.consider(victim, replace(one, member=name))
        rough = {victim: one for victim, one in enumerate(answers.get(LEARNED, [])) if one.images is not None}
        if rough and refiner.can_attack(observations[0]) and not likeliest.settled:
            part = span(progress, len(members) / (len(members) + 1), 1.0)
            seen = [observations[victim] for victim in rough]
            refined = refiner.refine(seen, [*rough.values()], generator(refining), part)
            for victim, one in zip(rough, refined, strict=True):
                likeliest.consider(victim, replace(one, member=f"{LEARNED}, refined"))
        progress(1.0)
        return [replace(one, evaluations=n) for one, n in zip(likeliest.answers, likeliest.evaluations, strict=True)]


class _Likeliest:
    """The likeliest answer to each observation so far."""

    def __init__(self, judge: Judge) -> None:
        count = len(judge.broken)
        self.judge = judge
        self.answers = [Reconstruction(None, None, math.inf, Status.NON_FINITE)] * count
        self.evaluations = [0] * count
        self._ended = [*judge.broken]

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to look for."""
        return all(self._ended)

    def consider(self, victim: int, answer: Reconstruction) -> None:
        """Keep an answer if it is likelier than the one so far."""
        judged, explained = self.judge.judged(victim, answer)
        self.answers[victim] = min(self.answers[victim], judged, key=lambda one: one.objective)
        self.evaluations[victim] += answer.evaluations
        self._ended[victim] |= explained
