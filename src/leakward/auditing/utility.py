"""What a defence costs: the accuracy of a model trained with it.

One site trains alone, through the very ``client_round`` that is attacked and by the recipe agreed for its defence, one
minibatch per round. A plain optimiser applies a gradient; the change of the weights after local steps is subtracted, as
FedAvg does with a single client. Minibatches are those of shuffled epochs; for a defence whose proof asks for it, each
is a Poisson sample of its own, of the same expected size and as many of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from leakward.auditing.site import Site
from leakward.auditing.tables import Plan
from leakward.errors import DivergedError
from leakward.federated import Defense, Guarantee, LocalTraining, Update, client_round, draw_sample, optim, proven
from leakward.models import Task
from leakward.pace import paced
from leakward.streams import stream
from leakward.tape import Tape
from leakward.training.client import apply_update, require_finite
from leakward.training.evaluation import scores
from leakward.training.results import ModelScores
from leakward.types import Tensors


@dataclass(frozen=True, eq=False)
class Training:
    """One training for utility.

    Attributes:
        state: Weights and buffers at the end.
        scores: On the test split after each epoch.
        kept: Weights and buffers after the epochs that the plan keeps, by number.
        private: The defence's helpers after those epochs and the last, likewise.
        diverged: The epoch that gave no finite model, which ended the training; None if none did.
    """

    state: Tensors
    scores: tuple[ModelScores, ...]
    kept: Mapping[int, Tensors]
    private: Mapping[int, Tensors]
    diverged: int | None = None


def train(plan: Plan, site: Site, defense: Defense, seed: int, progress: Callable[[float], None]) -> Training:
    """Train with ``defense`` on the site's images and test after every epoch."""
    settings = plan.utility
    images, labels = (part.to(site.device) for part in site.data.subset("train"))
    count = _images(plan, site)
    recipe = plan.trained(defense, count)
    images, labels = images[:count], labels[:count]
    (task, state), private, memory = site.start(defense, seed), None, None
    order, tape_source = stream("order", seed), stream("training", repr(defense), seed)
    images_of_test, labels_of_test = (part.to(site.device) for part in site.data.subset("test"))
    tested: list[ModelScores] = []
    kept: dict[int, Tensors] = {}
    helpers: dict[int, Tensors] = {}
    batches = -(-count // recipe.batch_images)
    for epoch in paced(range(settings.epochs)):
        before = state
        try:
            split = torch.randperm(count, generator=order).split(recipe.batch_images)
            for number, index in enumerate(paced(split)):
                tape, sample = Tape(tape_source), draw_sample(task, recipe, defense, count, order)
                own = slice(None) if sample else index
                result = client_round(task, state, images[own], labels[own], recipe, defense, tape, private, sample)
                require_finite(result.update)
                private = result.private
                applied = replace(result.update, tensors=defense.on_aggregate(result.update.tensors, tape))
                state, memory = _apply(plan, task, state, applied, memory)
                progress((epoch * batches + number + 1) / (settings.epochs * batches))
            tested.append(scores(defense.on_task(task), state, images_of_test, labels_of_test))
        except DivergedError:
            return Training(before, tuple(tested), kept, helpers, epoch + 1)
        if epoch + 1 in plan.kept_rounds:
            kept[epoch + 1] = state
        if private and epoch + 1 in (*plan.kept_rounds, settings.epochs):
            helpers[epoch + 1] = private
    return Training(state, tuple(tested), kept, helpers)


def guarantee(plan: Plan, site: Site, defense: Defense) -> Guarantee | None:
    """Return what ``defense``, as agreed and not yet prepared, proves for each image after all rounds of ``train``."""
    count = _images(plan, site)
    recipe = plan.trained(defense, count)
    rounds = plan.utility.epochs * -(-count // recipe.batch_images)
    task, _ = site.start(defense, 0)
    return proven(task, recipe, defense, count, rounds, plan.utility.delta)


def _images(plan: Plan, site: Site) -> int:
    """Return the number of images that the site trains on."""
    images = len(site.data.splits["train"])
    return min(images, plan.utility.train_images or images)


def _apply(
    plan: Plan,
    task: Task,
    state: Tensors,
    update: Update,
    memory: optim.OptimizerState | None,
) -> tuple[Tensors, optim.OptimizerState | None]:
    """Take the server's step."""
    if update.share == "update":
        return apply_update(state, update, plan.recipe), None
    settings = LocalTraining("update", optimizer=plan.utility.optimizer, learning_rate=plan.utility.learning_rate)
    parameters = {name: state[name] for name in task.parameter_names}
    stepped, memory = optim.step_function(settings)(parameters, update.tensors, memory or optim.start(parameters))
    return {name: value.detach() for name, value in (state | update.buffers | stepped).items()}, memory
