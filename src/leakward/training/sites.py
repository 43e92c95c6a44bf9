"""The images of a federation and who holds them, and the task that all have agreed on."""

import torch
from jaxtyping import Int
from torch import Tensor

from leakward.data import Dataset, dirichlet, iid, load_data, sized
from leakward.federated import Defense
from leakward.models import Task, TaskSpec, build_task, initial_state
from leakward.streams import stream
from leakward.training.settings import DataSettings, Job, ModelSettings
from leakward.types import Tensors


def load(settings: DataSettings) -> Dataset:
    """Load the whole data set.

    Raises:
        DataError: If it cannot be found or used.
    """
    return load_data(settings.name, path=settings.path, size=settings.size, count=settings.count, seed=settings.seed)


def shares(data: Dataset, settings: DataSettings) -> list[Int[Tensor, " _"]]:
    """Return the training images of every client, as indices into the data set.

    Raises:
        DataError: If there are fewer images than the clients are to have.
    """
    index = data.splits["train"]
    if settings.clients == 1 and settings.shares is None:
        return [index]
    rng, labels = stream("partition", settings.seed), data.labels[index]
    if settings.shares is not None:
        parts = sized(labels, settings.shares, rng)
    elif settings.alpha:
        parts = dirichlet(labels, settings.clients, settings.alpha, rng)
    else:
        parts = iid(labels, settings.clients, rng)
    return [index[part] for part in parts]


def chosen(job: Job, number: int) -> list[int]:
    """Return the clients that are asked to train in round ``number``, from 1."""
    count = max(1, round(job.federation.fraction * job.data.clients))
    return sorted(torch.randperm(job.data.clients, generator=stream("clients", job.seed, number))[:count].tolist())


def task_spec(data: Dataset, model: ModelSettings) -> TaskSpec:
    """Return the task of classifying ``data`` with ``model``."""
    mean, std = _constants(data, model)
    return TaskSpec(model.name, data.image_shape, len(data.classes), dict(model.options), mean, std)


def start(data: Dataset, job: Job) -> tuple[Task, Tensors]:
    """Return the network that a job trains, with what its defence changes in it, and the weights it starts from.

    Raises:
        ModelError: If the network does not fit the images.
        DefenseError: If the defence does not fit the network.
    """
    task = build_task(task_spec(data, job.model))
    state = initial_state(task, stream("weights", job.seed))
    return install(job.defense, task, state, job.seed)


def install(defense: Defense, task: Task, state: Tensors, seed: int) -> tuple[Task, Tensors]:
    """Return the network that is trained with ``defense``, and the weights it starts from; equal seeds, equal weights.

    Raises:
        DefenseError: If the defence does not fit the network.
    """
    return defense.install(task, state, stream("install", repr(defense), seed))


def prepare(defense: Defense, task: Task, data: Dataset, seed: int, client: int = 0) -> Defense:
    """Return ``defense`` as fitted on the training images of ``data``, the share of ``client``."""
    return defense.prepare(task, data, stream("prepare", repr(defense), seed, client))


def _constants(data: Dataset, model: ModelSettings) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what images are normalised with; LeNet and its attacks work on [0, 1] as their paper does."""
    if model.name == "lenet":
        return (), ()
    channels = data.image_shape[0]
    return data.mean or (0.5,) * channels, data.std or (0.5,) * channels
