"""Pre-training of the latent noise: Jiang et al. 2025 (arXiv:2503.16542), Algorithm 1.

For every minibatch: the decoder takes its step on noisy latent maps; then, against the decoder it has become,
encoder, predictor, mu and sigma take theirs. The networks are thrown away and mu and sigma kept.

Noise is ``mu + sigma eps`` with eps ~ N(0, 1), so that mu and sigma can be differentiated. A normal distribution does
not know the sign of sigma, which is therefore trained without a bound; its absolute value is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import grad

from leakward.data.dataset import Dataset
from leakward.defenses.latent_map import latent_of
from leakward.errors import DefenseError
from leakward.federated import Defense, Objective, Step, optim
from leakward.models import LatentNoise, Task, initial_state
from leakward.pace import paced
from leakward.tape import Tape
from leakward.types import Batch, Tensors

MEAN, STD = "noise/mean", "noise/std"


def fit_noise(
    defense: Defense,
    task: Task,
    data: Dataset,
    rng: torch.Generator,
    *,
    epochs: int,
    batch_images: int,
    learning_rate: float,
) -> LatentNoise:
    """Return the noise that a network trained together with it on the site's images prefers.

    Args:
        defense: Its private helpers are the decoder, its objective the one that noise and network minimise.
        task: With the latent noise of the first step.
        data: Its train split is used.
        rng: Of networks, order and noise.
        epochs: Passes over the images.
        batch_images: Images of a minibatch.
        learning_rate: Of Adam, for encoder, predictor, mu and sigma.
    """
    images, labels = data.subset("train")
    if len(images) == 0:
        raise DefenseError(
            f"pre-training: expected images in the train split of {data.name!r}, got none; choose other data"
        )
    start = latent_of(task)
    state = {name: value.to(images.device) for name, value in initial_state(task, rng).items()}
    parameters, buffers = task.split(state)
    private = defense.start_private(task, state, Tape(rng))
    trained = parameters | {MEAN: start.mean.to(images), STD: start.std.to(images)}
    memory = optim.start(trained)
    for batch in _minibatches(images, labels, epochs, batch_images, rng):
        noise = start.draw(len(batch), Tape(rng), images)
        step = Step(buffers, batch.images, batch.labels, noise=noise, private=private)
        step = defense.on_step(_with_noise(task, trained), _network(trained), step, Tape(rng))
        private = step.private
        gradient = grad(_loss(defense, task))(trained, step)
        trained, memory = optim.adam_step(trained, gradient, memory, learning_rate=learning_rate)
    return LatentNoise(trained[MEAN].detach(), trained[STD].detach().abs())


def _minibatches(images: Tensor, labels: Tensor, epochs: int, size: int, rng: torch.Generator) -> Iterator[Batch]:
    for _ in paced(range(epochs)):
        for index in paced(torch.randperm(len(images), generator=rng).to(images.device).split(size)):
            yield Batch(images[index], labels[index])


def _loss(defense: Defense, task: Task) -> Callable[[Tensors, Step], Tensor]:
    def loss(trained: Tensors, step: Step) -> Tensor:
        noisy = _with_noise(task, trained)
        return defense.on_objective(noisy, _cross_entropy(noisy))(_network(trained), step)[0]

    return loss


def _cross_entropy(task: Task) -> Objective:
    def objective(parameters: Tensors, step: Step) -> tuple[Tensor, Tensors]:
        logits, buffers = task.forward(parameters | step.buffers, step.images, noise=step.noise)
        return task.loss(logits, step.labels), buffers

    return objective


def _with_noise(task: Task, trained: Tensors) -> Task:
    return replace(task, latent=LatentNoise(trained[MEAN], trained[STD]))


def _network(trained: Tensors) -> Tensors:
    return {name: value for name, value in trained.items() if name not in (MEAN, STD)}
