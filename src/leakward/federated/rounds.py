"""A ``Round``: the clients' private side of one exchange. It never leaves the site."""

from dataclasses import dataclass

import torch

from leakward.federated.aggregation import group_update
from leakward.federated.agreement import require_images
from leakward.federated.defense import Defense
from leakward.federated.recipe import LocalTraining
from leakward.federated.update import Update
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Batch, Tensors


@dataclass(frozen=True, eq=False)
class Round:
    """What happened at the client, or at several of whom the server sees the mean; ``observe`` shows part of it.

    Attributes:
        task: As agreed, with what the defence installed, before it acts on a round.
        state: Parameters and buffers the round started from.
        recipe: As agreed, with what the defence changed in it.
        defense: Switched on at the client.
        batch: The private images and labels, of all clients.
        update: What the server was sent.
        tape: The randomness that was realised.
        clients: Whose messages ``update`` is the mean of.
    """

    task: Task
    state: Tensors
    recipe: LocalTraining
    defense: Defense
    batch: Batch
    update: Update
    tape: Tape
    clients: int = 1


def run_round(
    task: Task,
    state: Tensors,
    batch: Batch,
    recipe: LocalTraining,
    defense: Defense,
    rng: torch.Generator,
    clients: int = 1,
    private: Tensors | None = None,
) -> Round:
    """Let a client, or several with equal parts of ``batch``, train for one round.

    ``private`` are the defence's helpers as the last round left them; None before the first.

    Raises:
        DefenseError: If the defence cannot be applied, would still change ``recipe``, or asks for more images.
    """
    require_images(recipe, defense, len(batch) // clients)
    tape = Tape(rng)
    update = group_update(task, state, batch.images, batch.labels, recipe, defense, tape, clients, private)
    return Round(task, state, recipe, defense, batch, update, tape, clients)
