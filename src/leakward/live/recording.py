"""From what an engine is about to send to what the server will hold: the same ``Observation`` as everywhere else."""

from dataclasses import replace

import torch

from leakward.errors import CaptureError
from leakward.federated import Defense, Round, Update
from leakward.live.private import PrivateBatch
from leakward.live.settings import SiteSettings
from leakward.models import Task, build_task
from leakward.tape import Tape
from leakward.threat import Observation, ThreatModel, observe
from leakward.types import Batch, Tensors

WORST_CASE = ThreatModel("aware")
"""A site judges itself by a server that knows its defence and sees its message alone, whatever the engine adds."""


def observed(
    settings: SiteSettings, before: Tensors, after: Tensors, defense: Defense, private: PrivateBatch | None
) -> Round:
    """Return the round that a client ends by sending ``after``.

    Args:
        settings: Of the site.
        before: Weights and buffers that it was sent.
        after: What is about to leave, defended.
        defense: By which.
        private: That it trained on; where it is not handed over, the recipe says how many images there were.

    Raises:
        CaptureError: If a tensor of the network is missing or of another shape, or another is there.
    """
    task = build_task(settings.task)
    batch = _batch(settings, private)
    recipe = replace(settings.recipe, batch_images=len(batch))
    state = of_network(task, before, "the weights that came")
    sent = of_network(task, after, "the weights that are to leave")
    change = {name: state[name] - sent[name] for name in task.parameter_names}
    buffers = task.split(sent)[1] if recipe.mode == "train" else {}
    update = Update(change, len(batch), recipe.share, buffers)
    return Round(task, state, recipe, defense, batch, update, Tape(torch.Generator()))


def seen(round_: Round) -> Observation:
    """Return what the server is about to hold."""
    return observe(round_, WORST_CASE)


def of_network(task: Task, tensors: Tensors, what: str) -> Tensors:
    """Return the tensors of the network, in its order and precision, on the CPU.

    Args:
        task: Of the site.
        tensors: By name.
        what: They are, for the error.

    Raises:
        CaptureError: If one is missing or of another shape, or another is there, which nobody would judge.
    """
    own = task.model.state_dict()
    expected = {name: value.shape for name, value in own.items()}
    found = {name: value.shape for name, value in tensors.items()}
    strange = [name for name in expected | found if expected.get(name) != found.get(name)]
    if strange:
        wanted, got = (_shape(shapes.get(strange[0])) for shapes in (expected, found))
        raise CaptureError(
            f"{what}: expected {wanted} for {strange[0]!r}, got {got}; let the site's file name the network of this "
            "federation"
        )
    return {name: tensors[name].detach().to("cpu", value.dtype, copy=True) for name, value in own.items()}


def unprotected(round_: Round, after: Tensors) -> bool:
    """Return whether more than trained weights changed in what is to leave: batch statistics, which nothing defends."""
    rest = round_.task.split(round_.state)[1]
    return any(
        value.is_floating_point() and not torch.equal(value, after[name].cpu().to(value))
        for name, value in rest.items()
    )


def _batch(settings: SiteSettings, private: PrivateBatch | None) -> Batch:
    if private is not None:
        return private.batch
    unknown = torch.zeros(settings.recipe.batch_images, dtype=torch.long)
    return Batch(torch.zeros(len(unknown), *settings.task.input_shape), unknown)


def _shape(shape: torch.Size | None) -> str:
    return "no tensor" if shape is None else f"shape {tuple(shape)}"
