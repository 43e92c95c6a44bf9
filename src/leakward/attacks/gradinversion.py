"""GradInversion, "See through Gradients": Yin, Mallya, Vahdat, Alvarez, Kautz and Molchanov 2021 (arXiv:2104.07586).

Gradients are matched under priors of images, of the statistics that BatchNorm layers see, and of agreement between
starts:

    x* = argmin  alpha_G sum_l |g_l(x) - g_l|^2 / sum_l |g_l|^2  +  R_fidelity(x)  +  R_group(x)
    R_fidelity = alpha_TV TV(x) + alpha_l2 mean(x^2) + alpha_BN mean_l w_l (|mu_l(x) - mu_l| + |s_l(x) - s_l|)
    R_group = alpha_group mean((x - E)^2)

| symbol | here |
|---|---|
| x | candidate ``images`` (b c h w), N(0, 1) after normalisation at the start, kept in [0, 1] after every step |
| g_l | ``victim["message"]`` |
| mu_l, s_l | ``victim["statistics"]``: mean and variance in BatchNorm layer l |
| w_l | ``FIRST`` for the first BatchNorm layer, 1 for the others |
| E | ``victim["consensus"]``: mean of ``restarts`` starts, formed every ``refresh`` steps, no term before |
| alpha_G, alpha_BN | ``matching``, ``batchnorm`` |
| alpha_TV, alpha_l2, alpha_group | ``total_variation``, ``l2``, ``group`` |

What the statistics of a candidate are matched to: a client in train mode sends its running statistics, whose change
gives those of its own batch away, and these are used. From any other client only the running statistics before the
round are known, an average over everybody's images. A layer that has seen no batch yet says nothing and is left out.

The authors published no code. What differs from the paper: the squared distance is relative to the message and the
distance of statistics is a mean over layers, so that one setting serves gradients and updates of any local learning
rate and networks of any depth; weights are set for that, see docs/attacks/gradinversion.md. The starts are not
registered by optical flow before their mean is taken, but images of one class that changed places are matched. There is
no Langevin noise. A candidate's statistics are those of a pass in train mode. Labels are counted from the class biases,
since classes repeat in medical batches; ``label_rule = "distinct"`` is the rule of the paper, where no class does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.attacks.attack import Attack
from leakward.attacks.reading.batch_statistics import known_layers, observed_statistics
from leakward.attacks.reading.labels import distinct_labels
from leakward.attacks.reading.readable import readable
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.consensus import consensus
from leakward.attacks.searching.matching import squared_distance
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.searching.replay import Victims, gather, labels_known
from leakward.attacks.solvers import Adam, Coupling, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, not_negative, one_of, positive, whole
from leakward.models.statistics import batch_statistics, statistics_distance
from leakward.threat import Observation
from leakward.types import Tensors

LabelRule = Literal["counted", "distinct"]
FIRST = 10.0


@dataclass(frozen=True)
class GradInversion(Attack):
    """Match the gradient under priors of images, BatchNorm statistics, and agreement between starts.

    Attributes:
        iterations: Steps per start, at least 1.
        learning_rate: Of Adam at the first step, in pixel values; it falls to 0 along a cosine.
        matching: Weight of the gradient's squared distance, relative to its squared norm, positive.
        batchnorm: Weight of the distance of BatchNorm statistics, at least 0.
        total_variation: Weight of the prior of smooth images, at least 0.
        l2: Weight of the mean squared pixel after normalisation, at least 0.
        group: Weight of the mean squared distance to the mean of all starts, at least 0.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        refresh: Steps after which the mean of all starts is formed, again and again, at least 1.
        label_rule: ``counted`` from the class biases, or ``distinct``, which takes no class to occur twice in a batch.
        averaged: Draws of a defence's randomness that an aware attacker averages over, fresh at every step, at least 1.
    """

    iterations: int = 2000
    learning_rate: float = 0.1
    matching: float = 1.0
    batchnorm: float = 0.1
    total_variation: float = 1e-4
    l2: float = 1e-6
    group: float = 0.01
    restarts: int = 1
    refresh: int = 100
    label_rule: LabelRule = "counted"
    averaged: int = 1

    paper: ClassVar[str] = "Yin et al. 2021, arXiv:2104.07586"
    cost: ClassVar[str] = "Adam, 2,000 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            positive("matching", self.matching),
            not_negative("batchnorm", self.batchnorm),
            not_negative("total_variation", self.total_variation),
            not_negative("l2", self.l2),
            not_negative("group", self.group),
            whole("restarts", self.restarts),
            whole("refresh", self.refresh),
            one_of("label_rule", self.label_rule, get_args(LabelRule)),
            whole("averaged", self.averaged),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether the labels are granted or can be read off the message."""
        told_apart = self.label_rule == "counted" or observation.update.images <= observation.task.spec.num_classes
        return labels_known(observation) and (told_apart or observation.labels is not None)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, given or inferred labels."""
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged)
        replay, task = victims.replay, victims.replay.defense.on_task(observations[0].task)
        layers = known_layers(task, observations) if self.batchnorm else ()
        victims.tensors["norm"] = _squared_norm(victims.tensors["message"])
        victims.tensors["statistics"] = observed_statistics(layers, victims)
        if self.label_rule == "distinct" and not observations[0].threat.labels:
            victims.tensors["labels"] = torch.stack([_distinct_labels(o) for o in observations])

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
            images = candidate["images"]
            message, buffers = replay.update(images, victim["labels"], victim, draws)
            distance = squared_distance(message, victim["message"], victim.get("weight")) / victim["norm"]
            prior = self.total_variation * total_variation(images) + self.l2 * task.normalize(images).square().mean()
            apart = (images - victim["consensus"]).square().mean()
            value = self.matching * distance + prior + self.group * victim["agreed"] * apart
            if not layers:
                return value
            state = victim.get("state", replay.state)
            found = batch_statistics(layers, state, buffers or task.forward(state, images, mode="train")[1])
            return value + self.batchnorm * statistics_distance(layers, found, victim["statistics"], first=FIRST)

        noise = torch.randn(victims.trials, *observations[0].shape, generator=rng)
        start = {"images": task.denormalize(noise)}
        problem = Problem(objective, start, _without_consensus(victims), replay.draw, box=("images",))
        coupling = Coupling(self.restarts, self.refresh, self._agree) if self.restarts > 1 else None
        solver = Adam(self.iterations, self.learning_rate, schedule="cosine")
        solution = solver.solve(problem, rng, progress, coupling=coupling)
        return victims.choose(solution, problem.victims["labels"])

    def _agree(self, candidate: Tensors, victim: Victim) -> Victim:
        mean = consensus(candidate["images"], victim["labels"], self.restarts)
        return victim | {"consensus": mean, "agreed": torch.ones_like(victim["agreed"])}


def _without_consensus(victims: Victims) -> Victim:
    trials = victims.for_trials()
    like, shape = trials["norm"], victims.replay.observation.shape
    return trials | {"consensus": like.new_zeros(len(like), *shape), "agreed": torch.zeros_like(like)}


def _squared_norm(message: Tensors) -> Float[Tensor, " v"]:
    """Return the squared norm of every victim's message, and 1 for a message of zeros."""
    norm = torch.stack([value.flatten(1).square().sum(1) for value in message.values()]).sum(0)
    return torch.where(norm == 0, 1, norm)


def _distinct_labels(observation: Observation) -> Int[Tensor, " b"]:
    weight, _ = observation.task.classifier
    return distinct_labels(readable(observation)[weight], observation.update.images)
