"""The ``Defense`` interface: hooks at every place where a defence can act.

All hooks are identity by default, and a defence overrides only where its paper acts. A defence that cannot be applied
raises ``DefenseError``; no path returns the undefended value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from leakward.data.dataset import Dataset
from leakward.federated.recipe import LocalTraining
from leakward.federated.reply import Reply
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True, eq=False)
class Step:
    """What one local step looks at, beside the parameters.

    Attributes:
        buffers: Of the network, by name.
        images: (b c h w) in [0, 1].
        labels: (b) indices, or (b k) probabilities in an attacker's replay.
        noise: Draws for the task's latent noise, (b *latent), or None.
        private: The defence's own helpers, such as a decoder; they never enter an update.
    """

    buffers: Tensors
    images: Tensor
    labels: Tensor
    noise: Tensor | None = None
    private: Tensors = field(default_factory=dict)


Objective = Callable[[Tensors, Step], tuple[Tensor, Tensors]]
"""From parameters and step to the loss, a scalar, and the buffers after the pass."""


@dataclass(frozen=True)
class Guarantee:
    """Differential privacy of one client over all its steps.

    Attributes:
        epsilon: At least 0.
        delta: In (0, 1).
        accountant: Which accountant computed it, and for which sampling.
        curve: Further pairs of epsilon and delta that hold as well.
    """

    epsilon: float
    delta: float
    accountant: str
    curve: tuple[tuple[float, float], ...] = ()

    def reconstruction_bound(self, prior: float) -> float:
        """Return how often, at most, an attacker is right about one image who without the messages is at ``prior``.

        ``min over the curve of exp(epsilon) prior + delta``: Hayes, Mahloujifar and Balle 2023 (arXiv:2302.07225),
        whose bound is this minimum over the whole curve. The attacker may know everything but the image.
        """
        pairs = ((self.epsilon, self.delta), *self.curve)
        return min(1.0, *(math.exp(min(epsilon, 700.0)) * prior + delta for epsilon, delta in pairs))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an attacker who knows the defence makes of a message before matching it.

    Attributes:
        message: The attacker's estimate of the undistorted message.
        weight: Per entry, how far the attacker trusts it, in [0, 1].
    """

    message: Tensors
    weight: Tensors


SINGLE_GRADIENT = LocalTraining()
"""The recipe of a message that is one gradient."""


class Defense:
    """A defence is a frozen dataclass of its hyper-parameters; equal fields mean the same defence."""

    @property
    def per_example(self) -> bool:
        """Return whether ``on_example_gradients`` acts, so that per-image gradients must be made."""
        return False

    @property
    def step_images(self) -> int:
        """Return how many images every local step has to have, at least."""
        return 1

    @property
    def keeps_private(self) -> bool:
        """Return whether the client keeps private helpers from round to round."""
        return False

    @property
    def mixes_images(self) -> bool:
        """Return whether one image changes another's gradient, or what is done to it: bounding each proves nothing."""
        return False

    @property
    def compares_images(self) -> bool:
        """Return whether its loss compares the images of a step, so that none has a gradient of its own."""
        return False

    @property
    def carries_over(self) -> bool:
        """Return whether images of earlier rounds enter a message past whatever noise other parts of a chain add."""
        return False

    @property
    def poisson(self) -> bool:
        """Return whether what it proves needs Poisson sampling: each image in each step by a coin toss of its own."""
        return False

    @property
    def fits_task(self) -> bool:
        """Return whether ``on_task`` needs what is fitted; a model is then tested as the first client runs it."""
        return False

    @property
    def jumps(self) -> bool:
        """Return whether what is replayed jumps where a candidate hardly moves.

        Searches may then get further with the undefended client, so that an attacker who knows runs both.
        """
        return False

    def install(self, task: Task, state: Tensors, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Change the network that all sites train, and its weights: once, before anything else.

        Server and attacker see what network it is, so that even one who knows of no defence replays this one.
        """
        del rng
        return task, state

    def files(self) -> tuple[Path, ...]:
        """Return the files that the defence reads, on whose content its numbers depend."""
        return ()

    def prepare(self, task: Task, data: Dataset, rng: torch.Generator) -> "Defense":
        """Return a copy fitted on the site's training images, once before training."""
        del task, data, rng
        return self

    def on_task(self, task: Task) -> Task:
        """Change how the client runs the network, such as its representation; parameters and buffers stay."""
        return task

    def on_recipe(self, recipe: LocalTraining) -> LocalTraining:
        """Change what all sites do in a round: once, before anything else (``agreed_recipe``).

        What this returns, it leaves alone when it is asked again. Server and attacker see the recipe, so that even one
        who knows of no defence replays this one.
        """
        return recipe

    def start_private(self, task: Task, state: Tensors, tape: Tape) -> Tensors:
        """Make the client's private helpers before the first step."""
        del task, state, tape
        return {}

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Change what a step looks at, and let the private helpers take their own step, before the client's.

        The number of images has to stay; labels may become probabilities (b k).
        """
        del task, parameters, tape
        return step

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Change the loss."""
        del task
        return objective

    def on_example_gradients(self, gradients: Tensors, images: float, tape: Tape) -> Tensors:
        """Turn per-image gradients into the gradient of the step; only if ``per_example``.

        Args:
            gradients: Each (b *shape); where Poisson sampling drew no image, one that is zero.
            images: By which a sum is divided: b, or under Poisson sampling the number that is expected.
            tape: Randomness of the round.
        """
        del tape
        return {name: value.sum(0) / images for name, value in gradients.items()}

    def on_gradient(self, task: Task, parameters: Tensors, step: Step, gradient: Tensors, tape: Tape) -> Tensors:
        """Change the gradient of a step."""
        del task, parameters, step, tape
        return gradient

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Change the message, and the private helpers that the client keeps for its next round."""
        del tape
        return message, private

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Change all that is sent, as an engine does, which sees whole models: the client's, and the one it was sent.

        By default the message alone, by ``on_update``.
        """
        message, private = self.on_update(reply.message, private, tape)
        return replace(reply, message=message), private

    def on_aggregate(self, mean: Tensors, tape: Tape) -> Tensors:
        """Change what an honest server applies, the mean of all clients' messages; an attacker sees those before."""
        del tape
        return mean

    def guarantee(self, sampling_rate: float, rounds: int, delta: float, steps: int = 1) -> Guarantee | None:
        """Return what is proven for every image; None where nothing is.

        Args:
            sampling_rate: Probability that an image is in a step, in (0, 1], by a coin toss of its own (``poisson``).
            rounds: Messages that are sent, at least 1.
            delta: In (0, 1).
            steps: Local steps of a round, at least 1.
        """
        del sampling_rate, rounds, delta, steps
        return None

    def public(self) -> "Defense":
        """Return the defence as an attacker may hold it: without what was fitted and has to stay with the client."""
        return self

    def replay(self) -> "Defense":
        """Return what an attacker who knows mechanism and public parameters runs on a candidate."""
        return self

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Return what such an attacker makes of the observed ``message``, made of ``images`` images by ``recipe``."""
        del images, recipe
        return Evidence(message, {name: torch.ones_like(value) for name, value in message.items()})

    def interpret(self, seen: Reply, clients: int = 1) -> Evidence:
        """Return ``evidence`` of the mean message of ``clients`` clients; the weights before may be used as well.

        The mean over n clients is scaled up by sqrt(n), which gives independent noise the size that a defence says it
        has, and down again.
        """
        root = clients**0.5
        scaled = {name: value * root for name, value in seen.message.items()}
        found = self.evidence(scaled, seen.images, seen.recipe)
        return Evidence({name: value / root for name, value in found.message.items()}, found.weight)


@dataclass(frozen=True)
class NoDefense(Defense):
    """The client as it is, and the attacker who knows of no defence."""
