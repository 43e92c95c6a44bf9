"""The simulator: what a client computes in a round. There is no second implementation.

The client calls it on private images; an attacker replays the same function on a candidate. It is pure and
differentiable in the images: it changes nothing it is given, and takes randomness only from its tape.
"""

from dataclasses import dataclass, replace

from torch import Tensor
from torch.func import grad, vmap

from leakward.errors import DefenseError
from leakward.federated import optim
from leakward.federated.defense import Defense, Objective, Step
from leakward.federated.recipe import LocalTraining
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
) -> Update:
    """Return the update of one round on ``images`` (b c h w) and ``labels`` (b), or probabilities (b k).

    Raises:
        DefenseError: If the defence cannot be applied to this task and recipe.
    """
    return client_round(task, state, images, labels, recipe, defense, tape).update


def client_round(
    task: Task,
    state: Tensors,
    images: Tensor,
    labels: Tensor,
    recipe: LocalTraining,
    defense: Defense,
    tape: Tape,
    private: Tensors | None = None,
) -> ClientResult:
    """Do as ``client_update``, and carry a defence's private helpers from round to round."""
    task, recipe = defense.on_task(task), defense.on_recipe(recipe)
    parameters, buffers = task.split(state)
    private = defense.start_private(task, state, tape) if private is None else private
    if recipe.share == "gradient":
        message, buffers, private = _gradient(
            task, parameters, Step(buffers, images, labels, private=private), recipe, defense, tape
        )
    else:
        trained, buffers, private = _train(
            task, parameters, Step(buffers, images, labels, private=private), recipe, defense, tape
        )
        message = {name: parameters[name] - trained[name] for name in parameters}
    message, private = defense.on_update(message, private, tape)
    shared = buffers if recipe.mode == "train" else {}
    return ClientResult(Update(message, len(images), recipe.share, shared), private)


def _train(
    task: Task, parameters: Tensors, batch: Step, recipe: LocalTraining, defense: Defense, tape: Tape
) -> tuple[Tensors, Tensors, Tensors]:
    take, memory = optim.step_function(recipe), optim.start(parameters)
    buffers, private = batch.buffers, batch.private
    for images, labels in recipe.minibatches(batch.images, batch.labels, tape):
        step = Step(buffers, images, labels, private=private)
        gradient, buffers, private = _gradient(task, parameters, step, recipe, defense, tape)
        parameters, memory = take(parameters, gradient, memory)
    return parameters, buffers, private


def _gradient(
    task: Task, parameters: Tensors, step: Step, recipe: LocalTraining, defense: Defense, tape: Tape
) -> tuple[Tensors, Tensors, Tensors]:
    noise = None if task.latent is None else task.latent.draw(len(step.images), tape, step.images)
    step = defense.on_step(task, parameters, replace(step, noise=noise), tape)
    objective = defense.on_objective(task, _loss(task, recipe))
    if defense.per_example:
        gradient = defense.on_example_gradients(_example_gradients(task, objective, parameters, step, recipe), tape)
        buffers = step.buffers
    else:
        gradient, buffers = grad(objective, has_aux=True)(parameters, step)
    return defense.on_gradient(task, parameters, step, gradient, tape), buffers, step.private


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
