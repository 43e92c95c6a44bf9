"""The simulator: what a client computes in a round. There is no second implementation.

The client calls it on private images; an attacker replays the same function on a candidate. It is pure and
differentiable in the images: it changes nothing it is given, and takes randomness only from its tape.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import grad, vmap

from leakward.errors import DefenseError
from leakward.federated import optim
from leakward.federated.agreement import require_agreed
from leakward.federated.defense import Defense, Objective, Step
from leakward.federated.recipe import LocalTraining
from leakward.federated.reply import Reply
from leakward.federated.sampling import Sample
from leakward.federated.update import Update
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True, eq=False)
class ClientResult:
    """The message, and the private helpers that stay with the client for its next round."""

    update: Update
    private: Tensors


def client_update(
    task: Task,
    state: Tensors,
    images: Tensor,
    labels: Tensor,
    recipe: LocalTraining,
    defense: Defense,
    tape: Tape,
    private: Tensors | None = None,
) -> Update:
    """Return the update of one round on ``images`` (b c h w) and ``labels`` (b), or probabilities (b k).

    ``private`` are a defence's helpers as the last round left them; None before the first.

    Raises:
        DefenseError: If the defence cannot be applied to this task, or would still change this recipe.
    """
    return client_round(task, state, images, labels, recipe, defense, tape, private).update


def client_round(
    task: Task,
    state: Tensors,
    images: Tensor,
    labels: Tensor,
    recipe: LocalTraining,
    defense: Defense,
    tape: Tape,
    private: Tensors | None = None,
    sample: Sample | None = None,
) -> ClientResult:
    """Do as ``client_update``, and carry a defence's private helpers from round to round.

    With a ``sample``, ``images`` and ``labels`` are all that the client has, and the local steps are on those sampled;
    the update tells the agreed number of images, not the one drawn.
    """
    require_agreed(recipe, defense)
    task = defense.on_task(task)
    parameters, buffers = task.split(state)
    private = defense.start_private(task, state, tape) if private is None else private
    steps = _local_steps(images, labels, recipe, tape, sample)
    if recipe.share == "gradient":
        [(taken, named, size)] = steps
        step = Step(buffers, taken, named, private=private)
        message, buffers, private = _gradient(task, parameters, step, size, recipe, defense, tape)
    else:
        trained, buffers, private = _train(task, parameters, buffers, private, steps, recipe, defense, tape)
        message = {name: parameters[name] - trained[name] for name in parameters}
    count = len(images) if sample is None else sample.images
    reply, private = defense.on_reply(Reply(state, message, buffers, count, recipe), private, tape)
    shared = reply.buffers if recipe.mode == "train" else {}
    return ClientResult(Update(reply.message, count, recipe.share, shared), private)


def _local_steps(
    images: Tensor, labels: Tensor, recipe: LocalTraining, tape: Tape, sample: Sample | None
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Yield images and labels of every local step, and by how many images its sums are divided."""
    if sample is not None:
        yield from ((images[index], labels[index], sample.size) for index in sample.steps)
    elif recipe.share == "gradient":
        yield images, labels, float(len(images))
    else:
        yield from ((taken, named, float(len(taken))) for taken, named in recipe.minibatches(images, labels, tape))


def _train(
    task: Task,
    parameters: Tensors,
    buffers: Tensors,
    private: Tensors,
    steps: Iterator[tuple[Tensor, Tensor, float]],
    recipe: LocalTraining,
    defense: Defense,
    tape: Tape,
) -> tuple[Tensors, Tensors, Tensors]:
    take, memory = optim.step_function(recipe), optim.start(parameters)
    for images, labels, size in steps:
        step = Step(buffers, images, labels, private=private)
        gradient, buffers, private = _gradient(task, parameters, step, size, recipe, defense, tape)
        parameters, memory = take(parameters, gradient, memory)
    return parameters, buffers, private


def _gradient(
    task: Task, parameters: Tensors, step: Step, size: float, recipe: LocalTraining, defense: Defense, tape: Tape
) -> tuple[Tensors, Tensors, Tensors]:
    if not len(step.images):
        gradient = _of_no_image(parameters, size, defense, tape)
        return defense.on_gradient(task, parameters, step, gradient, tape), step.buffers, step.private
    noise = None if task.latent is None else task.latent.draw(len(step.images), tape, step.images)
    step = defense.on_step(task, parameters, replace(step, noise=noise), tape)
    objective = defense.on_objective(task, _loss(task, recipe))
    if defense.per_example:
        alone = _example_gradients(task, objective, parameters, step, recipe)
        gradient, buffers = defense.on_example_gradients(alone, size, tape), step.buffers
    else:
        gradient, buffers = grad(objective, has_aux=True)(parameters, step)
    return defense.on_gradient(task, parameters, step, gradient, tape), buffers, step.private


def _of_no_image(parameters: Tensors, size: float, defense: Defense, tape: Tape) -> Tensors:
    """Return the gradient of a step for which Poisson sampling drew no image."""
    if not defense.per_example:
        return {name: torch.zeros_like(value) for name, value in parameters.items()}
    nothing = {name: torch.zeros_like(value)[None] for name, value in parameters.items()}
    return defense.on_example_gradients(nothing, size, tape)


def _loss(task: Task, recipe: LocalTraining) -> Objective:
    def objective(parameters: Tensors, step: Step) -> tuple[Tensor, Tensors]:
        logits, buffers = task.forward(parameters | step.buffers, step.images, mode=recipe.mode, noise=step.noise)
        return task.loss(logits, step.labels), buffers

    return objective


def _example_gradients(
    task: Task, objective: Objective, parameters: Tensors, step: Step, recipe: LocalTraining
) -> Tensors:
    """Return the gradient of each image alone, each (b *shape)."""
    if recipe.mode == "train" and task.has_batchnorm:
        raise DefenseError(
            "per-image gradients: expected a network whose images do not mix, got BatchNorm in train mode; "
            "use mode = 'eval' or a network with GroupNorm"
        )

    def one(image: Tensor, label: Tensor, noise: Tensor | None) -> Tensors:
        alone = replace(step, images=image[None], labels=label[None], noise=None if noise is None else noise[None])
        return grad(objective, has_aux=True)(parameters, alone)[0]

    noise_dim = None if step.noise is None else 0
    return vmap(one, in_dims=(0, 0, noise_dim))(step.images, step.labels, step.noise)
