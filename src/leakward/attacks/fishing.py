"""Fishing: Wen, Geiping, Fowl, Goldblum and Goldstein 2022 (arXiv:2202.00580). The server is malicious.

It changes nothing but the last layer, z = W r + b on features r, such that one class c alone moves the layers before:

    class fishing                  W_k = 0, b_k = 1000 for k != c
    feature fishing                 W_k = 0, b_k = 0 for k != c;   W_c -> s W_c,   b_c = -s q

Class fishing gives every image p_c = 0. Then dL/dr = sum_k (p_k - [y = k]) W_k is -W_c for images of class c and zero
for all others, and the gradient of the layers before is that of the images of class c. Feature fishing gives p_c = 1 to
those images of class c whose feature <W_c, r> exceeds q, which silences them too. What is left is a smaller batch of
known labels, on which the ordinary gradient matching of ``inverting-gradients`` works.

| symbol | here |
|---|---|
| c | drawn by the server, from the classes of its public images if it holds any |
| m, images of class c that are left | read off ``dL/db_c = -m / b`` |
| q | the 1/``class_images`` quantile of the feature over public images of class c |
| s | ``SHARPNESS`` over the standard deviation of the feature |

Class fishing is for ``class_images`` = 1, and for a server without public images; else there is feature fishing.

In the last layer, the m images have ``dL/dW_c = -sum r`` and ``dL/dW_k = sum r / (k - 1)``. The message's own rows
k != c hold all images of the batch, so they are replaced by what follows from row c. An answer has as many images as
the batch: those found, repeated, and their class; images that were not caught are not made up.

What differs from the paper: one round, so that q comes from public images and not from earlier updates of the client;
the feature is the class's own logit instead of one entry of r, so that every feature carries a signal back; m > 1
images are reconstructed together. Feature fishing needs a batch of one class: images of others above q answer too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from leakward.attacks.attack import Attack
from leakward.attacks.inverting_gradients import InvertingGradients
from leakward.attacks.reading.rows import summed
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.solvers import Progress, Status, span
from leakward.errors import ModelError
from leakward.federated import Defense, Evidence, Reply
from leakward.fields import check, not_negative, positive, whole
from leakward.models import Task
from leakward.threat import Observation
from leakward.types import Batch, Tensors, generator

OTHERS = 1000.0
"""Bias of all other classes in class fishing."""
SILENT = 1e6
"""Likewise in the replay, where no candidate may reach a threshold and lose its gradient."""
SHARPNESS = 100.0
"""Logits per standard deviation of the feature."""
ROUNDING = 1e-4
"""A class row below this share of the largest is rounding: the batch holds no image of the class."""


@dataclass(frozen=True)
class Fishing(Attack):
    """Silence all classes but one, and match the gradient that is left (malicious server).

    Attributes:
        class_images: Images of the class that the server expects in a batch, at least 1. From 2 on, and with public
            images, a threshold on a feature is to leave one of them.
        iterations: Of the matching, at least 1.
        learning_rate: Of signed Adam, in pixel values.
        total_variation: Weight of the prior, at least 0.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        averaged: Draws of a defence's randomness that an aware attacker averages over, at least 1.
    """

    class_images: int = 1
    iterations: int = 1000
    learning_rate: float = 0.1
    total_variation: float = 1e-4
    restarts: int = 1
    averaged: int = 1

    paper: ClassVar[str] = "Wen et al. 2022, arXiv:2202.00580"
    active: ClassVar[bool] = True
    cost: ClassVar[str] = "signed Adam, 1,000 steps"

    def __post_init__(self) -> None:
        check(
            self,
            whole("class_images", self.class_images),
            whole("iterations", self.iterations),
            positive("learning_rate", self.learning_rate),
            not_negative("total_variation", self.total_variation),
            whole("restarts", self.restarts),
            whole("averaged", self.averaged),
        )

    def plant(self, task: Task, state: Tensors, public: Batch | None, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Return the agreed network with another last layer, or unchanged where it has no such layer."""
        try:
            weight, bias = task.classifier
        except ModelError:
            return task, state
        classes = torch.arange(task.spec.num_classes) if public is None else public.labels.unique().cpu()
        target = int(classes[torch.randint(len(classes), (1,), generator=rng)])
        row, own = state[weight][target], state[bias][target]
        planted = {weight: torch.zeros_like(state[weight]), bias: torch.full_like(state[bias], OTHERS)}
        if public is not None and self.class_images > 1:
            feature = task.forward(state, public.images[public.labels == target])[0][:, target]
            sharp = SHARPNESS / feature.std(correction=0).clamp_min(1e-6)
            row, own = sharp * row, sharp * (own - feature.quantile(1 / self.class_images))
            planted[bias].zero_()
        planted[weight][target], planted[bias][target] = row, own
        return task, state | planted

    def applies(self, observation: Observation) -> bool:
        """Return whether one gradient, or SGD, was taken on weights that ``plant`` made, image by image."""
        recipe, task = observation.recipe, observation.task
        mixed = recipe.mode == "train" and task.has_batchnorm
        linear = recipe.share == "gradient" or recipe.optimizer == "sgd"
        return linear and not mixed and _target(observation) is not None

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images of the class, victim by victim, since each may have another number of them."""
        matching = InvertingGradients(
            self.iterations, self.learning_rate, self.total_variation, self.restarts, self.averaged
        )
        seeds = torch.randint(2**62, (len(observations),), generator=rng).tolist()
        found: list[Reconstruction] = []
        for done, (observation, seed) in enumerate(zip(observations, seeds, strict=True)):
            begin, end = (step / len(observations) for step in (done, done + 1))
            found.append(_recover(observation, matching, generator(seed), span(progress, begin, end)))
            progress(end)
        return found


@dataclass(frozen=True)
class PartOfBatch(Defense):
    """A defence as it acts on a message of which some images were picked out.

    Attributes:
        whole: The defence of the message.
        images: Behind the message, picked out or not.
    """

    whole: Defense
    images: int

    def replay(self) -> Defense:
        """Replay the defence itself."""
        return self.whole.replay()

    def interpret(self, seen: Reply, clients: int = 1) -> Evidence:
        """Return what the defence makes of a message of all images."""
        return self.whole.interpret(replace(seen, images=self.images), clients)


def _target(observation: Observation) -> int | None:
    """Return the class whose row alone is not zero, the other biases being equal; None if there is no such class."""
    try:
        weight, bias = (observation.state[name] for name in observation.task.classifier)
    except ModelError:
        return None
    rows = weight.any(1).nonzero().squeeze(1)
    if len(rows) != 1:
        return None
    others = bias[torch.arange(len(bias), device=bias.device) != rows[0]]
    return int(rows[0]) if bool((others == others[0]).all()) else None


def _recover(
    observation: Observation, matching: InvertingGradients, rng: torch.Generator, progress: Progress
) -> Reconstruction:
    target = _target(observation)
    assert target is not None  # applies
    batch = observation.update.images
    weight, bias = (summed(observation, name)[0] for name in observation.task.classifier)
    heard = bool(weight[target].abs().max() > ROUNDING * weight.abs().max())
    if not (heard and bias[target].isfinite()):
        return Reconstruction(None, None, float("inf"), Status.NON_FINITE)
    caught = min(max(round(-float(bias[target])), 1), batch)
    found = matching.recover([_caught(observation, target, caught)], rng, progress)[0]
    if found.images is None or found.labels is None:
        return found
    repeated = torch.arange(batch) % caught
    labels = found.labels[repeated] if observation.labels is None else observation.labels
    return replace(found, images=found.images[repeated], labels=labels)


def _caught(observation: Observation, target: int, caught: int) -> Observation:
    """Return what would have been seen if the batch had held the caught images alone, up to the length of the message.

    The realised randomness is that of the whole batch, so an ``oracle`` is no more than ``aware`` here.
    """
    message, bias = dict(observation.update.tensors), observation.state[observation.task.classifier[1]]
    for name in observation.task.classifier:
        row = message[name][target]
        message[name] = (-row / (len(bias) - 1)).expand_as(message[name]).clone()
        message[name][target] = row
    silent = torch.full_like(bias, SILENT)
    silent[target] = bias[target]
    threat = observation.threat
    if threat.knowledge == "oracle":
        threat = replace(threat, knowledge="aware")
    return replace(
        observation,
        threat=threat,
        state=observation.state | {observation.task.classifier[1]: silent},
        update=replace(observation.update, tensors=message, images=caught),
        defense=PartOfBatch(observation.defense, observation.update.images),
        labels=torch.full((caught,), target, device=bias.device),
        randomness=None,
    )
