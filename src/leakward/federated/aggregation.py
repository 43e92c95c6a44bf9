"""What a server sees under secure aggregation: the mean of several clients' messages, and none of its parts.

Bonawitz et al. 2017 (doi:10.1145/3133956.3133982) mask every message so that only the sum can be read. Whatever the
masks, the server learns

    u = (1 / N) sum_i u_i,

here of clients that hold equally many images, which FedAvg then weighs alike.
"""

from torch import Tensor

from leakward.federated.client import client_update
from leakward.federated.defense import Defense
from leakward.federated.recipe import LocalTraining
from leakward.federated.update import Update
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors


def group_update(
    task: Task,
    state: Tensors,
    images: Tensor,
    labels: Tensor,
    recipe: LocalTraining,
    defense: Defense,
    tape: Tape,
    clients: int = 1,
    private: Tensors | None = None,
) -> Update:
    """Return the mean update of ``clients`` clients, each of which holds an equal part of the images, in order.

    Args:
        task: As agreed, like ``state`` and ``recipe``.
        state: Parameters and buffers before the round.
        images: Of all clients, (n b) c h w.
        labels: Of those images.
        recipe: Of every client.
        defense: Of every client, each with draws of its own.
        tape: Randomness of the clients, one after the other.
        clients: n, at least 1; divides the number of images.
        private: The defence's helpers that each goes on with; None before the first round.
    """
    size = len(images) // clients
    if size * clients != len(images):
        raise ValueError(f"group_update: expected images for {clients} equal clients, got {len(images)}")
    parts = [
        client_update(task, state, some, named, recipe, defense, tape, private)
        for some, named in zip(images.split(size), labels.split(size), strict=True)
    ]
    first = parts[0]
    if clients == 1:
        return first
    tensors = _mean([part.tensors for part in parts])
    return Update(tensors, len(images), first.share, _mean([part.buffers for part in parts]))


def _mean(parts: list[Tensors]) -> Tensors:
    """Return the mean of every tensor; counters, which are whole numbers, are the same for all."""
    first, *others = parts
    return {
        name: sum((part[name] for part in others), value) / len(parts) if value.is_floating_point() else value
        for name, value in first.items()
    }
