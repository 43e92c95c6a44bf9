"""The map between encoder and predictor: its shape, and noise on it."""

from functools import lru_cache

import torch
from torch import Tensor

from leakward.errors import DefenseError, ModelError
from leakward.federated import Step
from leakward.models import LatentNoise, Task
from leakward.types import Tensors

SMALLEST = 4
"""Pixels of the smallest side a decoder can be built for."""


def latent_noise(task: Task, mean: float | Tensor, std: float | Tensor) -> LatentNoise:
    """Return noise of this mean and standard deviation in the shape of the latent map.

    Raises:
        DefenseError: If the task has no such map, has noise on it already, or a tensor has another shape.
    """
    if task.latent is not None:
        raise DefenseError("latent noise: expected a task without, got one with noise; use one such defence at a time")
    shape = latent_shape(task)
    values = [v if isinstance(v, Tensor) else torch.full(shape, float(v)) for v in (mean, std)]
    if any(value.shape != shape for value in values):
        found = tuple(values[0].shape)
        raise DefenseError(f"latent noise: expected shape {shape}, got {found}; prepare the defence for this model")
    return LatentNoise(*values)


def noisy_latent(task: Task, parameters: Tensors, step: Step) -> Tensor:
    """Return the latent maps (b c h w) of a step with its noise."""
    return latent_of(task).apply(task.encode(parameters | step.buffers, step.images), step.noise)


def latent_of(task: Task) -> LatentNoise:
    """Return the noise of a task on which a defence has put some."""
    if task.latent is None:
        raise DefenseError("latent noise: expected a task with noise, got one without; apply on_task first")
    return task.latent


@torch.compiler.assume_constant_result  # a compiled replay takes the shape as it is, and leaves the cache alone
def latent_shape(task: Task) -> tuple[int, int, int]:
    """Return (c, h, w) of the latent map, found without computing anything."""
    return _latent_shape(task)


@lru_cache(maxsize=16)
def _latent_shape(task: Task) -> tuple[int, int, int]:
    if task.has_batchnorm:
        raise DefenseError(
            f"latent noise: expected a network whose images do not mix, got {task.spec.model!r} with BatchNorm; "
            "use one with GroupNorm or without"
        )
    if min(task.spec.input_shape[1:]) < SMALLEST:
        raise DefenseError(f"latent noise: expected images of at least {SMALLEST} pixels, got {task.spec.input_shape}")
    state = {name: value.to("meta") for name, value in task.model.state_dict().items()}
    try:
        latent = task.encode(state, torch.zeros(1, *task.spec.input_shape, device="meta"))
    except ModelError as error:
        raise DefenseError(f"latent noise: {error}") from error
    if latent.ndim != 4:
        raise DefenseError(
            f"latent noise: expected a latent map (c, h, w), got shape {tuple(latent.shape[1:])}; "
            "use a network with a convolutional encoder"
        )
    return latent.shape[1], latent.shape[2], latent.shape[3]
