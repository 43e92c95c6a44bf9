"""FL gradient inversion: Hatamizadeh, Yin, Molchanov, Myronenko, Li, Dogra, Feng, Flores, Kautz, Xu and Roth 2023.

"Do gradient inversion attacks make federated learning unsafe?" (arXiv:2202.06924), the attack for clients that train
with batch statistics and send both the change of their weights and their running statistics. The latter give the
statistics of the client's own batches away (``models.statistics``):

    x*, y* = argmin  alpha_W sum_l |W_l(x, y) - W_l| / |W|  +  alpha_BN mean_l (|mu_l(x) - mu_l| + |s_l(x) - s_l|)
                     +  alpha_TV TV(x)  +  alpha_l2 mean(x^2)

| symbol | here |
|---|---|
| x | candidate ``images`` (b c h w), which start from the mean of the public images; kept in [0, 1] |
| y | softmax of candidate ``labels`` (b k), N(0, 1) at the start; fixed where the threat model grants the labels |
| W_l | ``victim["message"]``, the change of the weights over the round |
| mu_l, s_l | ``victim["statistics"]``: mean and variance by which the running statistics changed over the round |
| alpha_W, alpha_BN, alpha_TV, alpha_l2 | ``matching``, ``batchnorm``, ``total_variation``, ``l2`` |

The round is replayed whole, so running statistics compound over several local steps as they did at the client, with the
weights of each step.

Two forms. In the authors' code the simulated update is read from state dictionaries, so that no gradient flows from
the matching term to the image; the cross-entropy that the local step was made with moves the image instead. ``form``
is ``intended``, the equation above, or ``published``: the matching term counts in the objective, by which the best
iterate is kept, but has no gradient, and the cross-entropy of x and y in train mode is added. Of the published code
this reproduces what moves the image: cross-entropy, statistics, both image priors, the start. It does not reproduce the
drift of the network there, which is not set back between iterations.

What else differs from the authors' code: the matching term is relative to the message, the distance of statistics is a
mean over layers, and both image priors are means over pixels, so that one setting serves any local learning rate,
network and image size; weights and learning rate are set for that. The noise that is added to the image at every step
is replaced by noise at the start, without which images of one label would stay alike. Adam has its usual betas and no
warm-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.attacks.attack import Attack
from leakward.attacks.reading.batch_statistics import known_layers, observed_statistics
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.searching.replay import gather
from leakward.attacks.solvers import Adam, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, not_negative, one_of, positive, whole
from leakward.models.statistics import batch_statistics, statistics_distance
from leakward.threat import Observation
from leakward.types import Tensors

Form = Literal["intended", "published"]


@dataclass(frozen=True)
class FLGradientInversion(Attack):
    """Match weight changes and batch statistics from the mean image on.

    Attributes:
        iterations: Steps per start, at least 1.
        learning_rate: Of Adam at the first step, in pixel values; it falls to 0 along a cosine.
        form: ``intended`` differentiates the matching term; ``published`` does as the authors' code.
        matching: Weight of the distance of weight changes, relative to their norm, positive.
        batchnorm: Weight of the distance of BatchNorm statistics, positive.
        total_variation: Weight of the prior of smooth images, at least 0.
        l2: Weight of the mean squared pixel after normalisation, at least 0.
        noise: Standard deviation of the noise on the mean image at the start, positive.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, fresh at every step, at least 1.
    """

    iterations: int = 2000
    learning_rate: float = 0.02
    form: Form = "intended"
    matching: float = 0.1
    batchnorm: float = 0.1
    total_variation: float = 1e-4
    l2: float = 1e-5
    noise: float = 0.01
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Hatamizadeh et al. 2023, arXiv:2202.06924"
    needs: ClassVar[tuple[str, ...]] = ("update", "state", "public")
    cost: ClassVar[str] = "Adam, 2,000 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            one_of("form", self.form, get_args(Form)),
            positive("matching", self.matching),
            positive("batchnorm", self.batchnorm),
            not_negative("total_variation", self.total_variation),
            not_negative("l2", self.l2),
            positive("noise", self.noise),
            whole("restarts", self.restarts),
            whole("averaged", self.averaged),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether running statistics of BatchNorm layers were sent, by one client alone."""
        alone = observation.threat.clients == 1
        return alone and bool(observation.update.buffers) and bool(known_layers(observation.task, [observation]))

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images and, where they are not granted, the labels."""
        granted = observations[0].threat.labels
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged, labels=granted)
        replay, task = victims.replay, victims.replay.defense.on_task(observations[0].task)
        layers = known_layers(task, observations)
        victims.tensors["statistics"] = observed_statistics(layers, victims)

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
            images, state = candidate["images"], victim.get("state", replay.state)
            labels = victim["labels"] if granted else candidate["labels"].softmax(-1)
            message, buffers = replay.update(images, labels, victim, draws)
            distance = self.matching * relative_distance(message, victim["message"], victim.get("weight"))
            if self.form == "published":
                logits, _ = task.forward(state, images, mode="train")
                distance = distance.detach() + task.loss(logits, labels)
            found = batch_statistics(layers, state, buffers)
            statistics = self.batchnorm * statistics_distance(layers, found, victim["statistics"])
            prior = self.total_variation * total_variation(images) + self.l2 * task.normalize(images).square().mean()
            return distance + statistics + prior

        start = self._start(observations, rng)
        problem = Problem(objective, start, victims.for_trials(), replay.draw, box=("images",))
        solution = Adam(self.iterations, self.learning_rate, schedule="cosine").solve(problem, rng, progress)
        labels = problem.victims["labels"] if granted else solution.best["labels"].argmax(-1)
        return victims.choose(solution, labels)

    def _start(self, observations: Sequence[Observation], rng: torch.Generator) -> Tensors:
        shape, classes = observations[0].shape, observations[0].task.spec.num_classes
        starts: list[Tensor] = []
        for observation in observations:
            assert observation.public is not None  # ``needs``
            mean = observation.public.images.mean(0).cpu()
            noise = torch.randn(self.restarts, *shape, generator=rng)
            starts.append(mean + self.noise * noise)
        images = torch.cat(starts).clamp(0, 1)
        if observations[0].threat.labels:
            return {"images": images}
        return {"images": images, "labels": torch.randn(len(images), shape[0], classes, generator=rng)}


def relative_distance(found: Tensors, target: Tensors, weight: Tensors | None = None) -> Float[Tensor, ""]:
    """Return ``sum_l |found_l - target_l| / |target|``, Euclidean norms; a target of zeros counts as of norm 1."""
    trusted = target if weight is None else {name: weight[name] * value for name, value in target.items()}
    norm = torch.stack([torch.linalg.vector_norm(value) for value in trusted.values()]).norm()
    terms = [
        torch.linalg.vector_norm((found[n] - value) * (1 if weight is None else weight[n]))
        for n, value in target.items()
    ]
    return torch.stack(terms).sum() / torch.where(norm == 0, 1, norm)
