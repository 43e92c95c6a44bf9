"""A ``Round``: one client's private side of one exchange. It never leaves the site."""

from dataclasses import dataclass

import torch

from leakward.federated.client import client_round
from leakward.federated.defense import Defense
from leakward.federated.recipe import LocalTraining
from leakward.federated.update import Update
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Batch, Tensors


@dataclass(frozen=True, eq=False)
class Round:
    """What happened at the client; all of it is private but what ``observe`` makes visible.

    Attributes:
        task: As agreed, before the defence acts on it.
        state: Parameters and buffers the round started from.
        recipe: As agreed, before the defence acts on it.
        defense: Switched on at the client.
        batch: The private images and labels.
        update: What was sent.
        tape: The randomness that was realised.
    """

    task: Task
    state: Tensors
    recipe: LocalTraining
    defense: Defense
    batch: Batch
    update: Update
    tape: Tape


def run_round(
    task: Task, state: Tensors, batch: Batch, recipe: LocalTraining, defense: Defense, rng: torch.Generator
) -> Round:
    """Let a client train on ``batch`` for one round."""
    tape = Tape(rng)
    update = client_round(task, state, batch.images, batch.labels, recipe, defense, tape).update
    return Round(task, state, recipe, defense, batch, update, tape)
