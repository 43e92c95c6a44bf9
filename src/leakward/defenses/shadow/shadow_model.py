"""The shadow: a generator that plays the attacker on the client's own batches (arXiv:2506.15711).

Every image has a code z, fitted once,

    z = argmin MSE(G(z), x),      AdamW, its rate halved at 3/8, 5/8 and 7/8 of the steps,

and then kept while the generator takes a few steps of Adam, each time from fresh moments, on the loss in ``objective``.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from leakward.defenses.shadow.objective import Maps, Message, message, shadow_loss
from leakward.federated import optim
from leakward.generators import Generator
from leakward.models import Mode, Task
from leakward.models.statistics import batchnorm_layers
from leakward.tape import Tape
from leakward.types import Tensors

DECAY = 0.01
"""Weight decay of AdamW, PyTorch's default."""
MILESTONES = (0.375, 0.625, 0.875)
WEIGHT = "weight/"
Codes = Float[Tensor, "b d"]


@dataclass(frozen=True)
class CodeFit:
    """How codes are fitted.

    Attributes:
        steps: Of AdamW.
        learning_rate: At first.
        accumulate: Whether every step takes the sum of all gradients so far, or its own.
    """

    steps: int
    learning_rate: float
    accumulate: bool


PUBLISHED_FIT, MENDED_FIT = CodeFit(500, 1e-3, accumulate=True), CodeFit(50, 0.1, accumulate=False)


@dataclass(frozen=True, eq=False)
class Shadow:
    """A generator for a task: images are compared in the network's input range.

    Attributes:
        task: Agreed.
        generator: Structure only.
    """

    task: Task
    generator: Generator

    def show(self, weights: Tensors, codes: Codes) -> Maps:
        """Return G(z) in [0, 1]."""
        return self.generator.forward(weights, codes)

    def fit_codes(self, weights: Tensors, codes: Codes, inputs: Maps, fit: CodeFit) -> Codes:
        """Return the codes whose images are closest to ``inputs``.

        Args:
            weights: Of the generator, kept.
            codes: To start from.
            inputs: In the network's input range.
            fit: How.
        """

        def error(moved: Tensors) -> Tensor:
            return (self.task.normalize(self.show(weights, moved["z"])) - inputs).square().mean()

        found = {"z": codes}
        memory, total = optim.start(found), torch.zeros_like(codes)
        halvings = [int(fit.steps * share) for share in MILESTONES]
        for step in range(fit.steps):
            gradient = grad(error)(found)["z"]
            total = total + gradient if fit.accumulate else gradient
            rate = fit.learning_rate * 0.5 ** sum(step >= at for at in halvings)
            decayed = {"z": found["z"] * (1 - rate * DECAY)}
            found, memory = optim.adam_step(decayed, {"z": total}, memory, learning_rate=rate)
        return found["z"]

    def descend(
        self,
        weights: Tensors,
        codes: Codes,
        inputs: Maps,
        labels: Tensor,
        state: Tensors,
        target: Message,
        *,
        mode: Mode,
        steps: int,
        learning_rate: float,
    ) -> Tensors:
        """Return the generator's weights after some steps on its loss.

        Args:
            weights: Before.
            codes: Of the batch.
            inputs: Of the batch, in the network's input range.
            labels: Of the batch.
            state: Of the task's network.
            target: What the batch itself would send.
            mode: In which G(z) passes the network.
            steps: Of Adam.
            learning_rate: For a batch of four; see ``rate``.
        """
        layers = batchnorm_layers(self.task)

        def loss(moved: Tensors) -> Tensor:
            images = self.show(moved, codes)
            found = message(self.task, state, images, labels, mode)
            return shadow_loss(layers, self.task.normalize(images), inputs, found, target)

        memory = optim.start(weights)
        for _ in range(steps):
            gradient = grad(loss)(weights)
            weights, memory = optim.adam_step(weights, gradient, memory, learning_rate=rate(len(codes), learning_rate))
        return weights


def rate(images: int, learning_rate: float) -> float:
    """Return the published rate for a batch: a tenth for a single image, twice as much from eight on."""
    if images == 1:
        return learning_rate / 10
    return learning_rate * (2 if images >= 8 else 1)


def draw_weights(generator: Generator, tape: Tape, like: Tensor) -> Tensors:
    """Draw weights as PyTorch's layers do, U(-1, 1) / sqrt(fan-in), and biases of 0."""
    drawn: Tensors = {}
    for name, shape in generator.parameters.items():
        bound = torch.Size(shape[1:]).numel() ** -0.5 if len(shape) > 1 else 0.0
        drawn[name] = bound * (2 * tape.uniform(shape, like) - 1)
    return drawn


def as_vector(generator: Generator, weights: Tensors) -> Float[Tensor, " p"]:
    """Return all weights in one row."""
    return torch.cat([weights[name].flatten() for name in generator.parameters])


def from_vector(generator: Generator, vector: Float[Tensor, " p"]) -> Tensors:
    """Undo ``as_vector``."""
    shapes = {name: torch.Size(shape) for name, shape in generator.parameters.items()}
    parts = vector.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def pack(weights: Tensors) -> Tensors:
    """Name the weights as private helpers."""
    return {WEIGHT + name: value for name, value in weights.items()}


def unpack(private: Tensors) -> Tensors:
    """Undo ``pack``."""
    return {name.removeprefix(WEIGHT): value for name, value in private.items() if name.startswith(WEIGHT)}
