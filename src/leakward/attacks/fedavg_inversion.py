"""Data Leakage in Federated Averaging: Dimitrov, Balunovic, Konstantinov and Vechev 2022 (arXiv:2206.12395).

A client that trains for several epochs in several minibatches sends one sum of many steps. The attacker simulates all
of them. Which images met in a minibatch is not known, and is another in every epoch. So each epoch gets candidate
images of its own, and a prior that does not depend on their order says that all epochs hold the same set:

    X* = argmin  sum_l w_l t_l (1 - <u_l(X), u_l> / (|u_l(X)| |u_l|)) / sum_l w_l  +  alpha TV(X)
               + lambda (1 / E^2) sum_ij || g(X_i) - g(X_j) ||^2                              (eqs. 4, 5)

In the end the images of all epochs are matched to those of the first, and averaged.

| symbol | here |
|---|---|
| X_1 .. X_E | candidate ``images`` (e b c h w) of the epochs, at the start N(0, 1) after normalisation |
| u | ``victim["message"]``, the change of the weights; u(X) the same client, run once over all X |
| g | mean image of an epoch (``epoch_sets.mean_disagreement``), lambda is ``agreement`` |
| w_l | exp(-``layer_decay`` l) for the tensors of layer l |
| t_l | 1, or of an attacker who knows a defence the mean trust in the tensor beside that in the one trusted most |
| alpha | ``total_variation`` |
| label counts | ``label_counts`` |

The simulation is exact for every optimiser, momentum and Adam included: E epochs over b images are one epoch over E b
images in the order of the epochs, if every epoch ends with a full minibatch. If one does not, or if the order is known
(no shuffling, or realised randomness is granted), one set of images stands for all epochs, and the orders are drawn
anew at every step, or replayed as they are known.

What differs from the authors' code: the cosine distance is theirs by option, their scripts take squared distances with
the same weights, and Adam without the sign. Labels lie in a random order in every epoch of a start; theirs are sorted,
which puts images of one class into one minibatch. All epochs start from the same noise. Images of different labels are
never matched. Restarts are compared by the objective, theirs by the error against the true images. g is their choice
for FEMNIST; for CIFAR-100 they take the maximum of random features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from leakward.attacks.attack import Attack
from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.epoch_sets import assemble, mean_disagreement
from leakward.attacks.searching.layerwise import layer_factors, layerwise_distance
from leakward.attacks.searching.priors import total_variation
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import Adam, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.federated import LocalTraining, Share
from leakward.fields import check, not_negative, positive, whole
from leakward.threat import Observation
from leakward.types import Tensors, generator


@dataclass(frozen=True)
class FedAvgInversion(Attack):
    """Match the whole local training with images of their own for every epoch.

    Attributes:
        iterations: Steps per start, at least 1.
        learning_rate: Of signed Adam, in pixel values.
        total_variation: Weight of the prior of smooth images, at least 0.
        agreement: Weight of the prior that all epochs hold the same images, at least 0.
        layer_decay: How much less each layer counts than the one before it; 0 means all alike.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, fresh at every step, at least 1.
    """

    iterations: int = 1000
    learning_rate: float = 0.1
    total_variation: float = 1e-2
    agreement: float = 0.1
    layer_decay: float = 1.0
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Dimitrov et al. 2022, arXiv:2206.12395"
    shares: ClassVar[tuple[Share, ...]] = ("update",)
    cost: ClassVar[str] = "signed Adam through all local steps, 1,000 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            not_negative("total_variation", self.total_variation),
            not_negative("agreement", self.agreement),
            not_negative("layer_decay", self.layer_decay),
            whole("restarts", self.restarts),
            whole("averaged", self.averaged),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether the labels are granted or can be read off the message."""
        return labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, given or inferred labels."""
        epochs = unknown_orders(observations[0])
        labels = torch.stack([infer_labels(seen) if seen.labels is None else seen.labels for seen in observations])
        unrolled = [unroll(seen) if epochs else seen for seen in observations]
        victims = gather(unrolled, restarts=self.restarts, averaged=self.averaged, labels=False)
        factors = layer_factors(observations[0].task.parameter_names, self.layer_decay)
        shape = (victims.trials, epochs or 1, *observations[0].shape)

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
            sets, order = candidate["images"], victim["order"]
            images = torch.take_along_dim(sets, order[..., None, None, None], dim=1).flatten(0, 1)
            found = victims.replay.message(images, victim["labels"][order].flatten(), victim, draws)
            distance = layerwise_distance(found, victim["message"], factors, victim.get("weight"))
            return distance + self.total_variation * total_variation(images) + self.agreement * mean_disagreement(sets)

        orders, starts = (generator(seed) for seed in torch.randint(2**62, (2,), generator=rng).tolist())
        order = torch.rand(shape[:3], generator=orders).argsort()
        if not epochs:
            order = torch.arange(shape[2]).expand(shape[:3])
        noise = torch.randn(shape[0], 1, *shape[2:], generator=starts).repeat(1, shape[1], 1, 1, 1, 1)
        tried = victims.for_trials() | {
            "labels": labels.repeat_interleave(self.restarts, dim=0),
            "order": order.to(labels.device),
        }
        start = {"images": observations[0].task.denormalize(noise)}
        problem = Problem(objective, start, tried, victims.replay.draw, box=("images",))
        solution = Adam(self.iterations, self.learning_rate, schedule="step", signed=True).solve(problem, rng, progress)
        whole_sets = zip(solution.best["images"], tried["labels"], strict=True)
        best = torch.stack([assemble(sets, known) for sets, known in whole_sets])
        return victims.choose(replace(solution, best={"images": best}), tried["labels"])


def unknown_orders(seen: Observation) -> int:
    """Return how many epochs take the images in an order the attacker neither knows nor can leave open, 0 for none.

    Several clients that come together are replayed with orders drawn anew.
    """
    size = seen.recipe.minibatch or seen.update.images
    known = not seen.recipe.shuffle or seen.randomness is not None or seen.threat.clients > 1
    return 0 if known or seen.update.images % size else seen.recipe.epochs


def unroll(seen: Observation) -> Observation:
    """Return the same round as one epoch, in order, over the images of all epochs."""
    images = seen.recipe.epochs * seen.update.images
    recipe: LocalTraining = replace(seen.recipe, epochs=1, shuffle=False, batch_images=images)
    return replace(seen, recipe=recipe, update=replace(seen.update, images=images))
