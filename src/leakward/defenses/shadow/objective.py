"""What the shadow minimises: Jiang, Ma and Yang 2025 (arXiv:2506.15711).

    L = 1e-2 sum_l |g_l(G(z)) - g_l| + 1e-2 sum_BN (|mean - mean*| + |var - var*|)
      + 1e-5 TV(G(z)) + 1e2 |G(z)| / (h w)^2 + MSE(G(z), x)

with Euclidean norms over whole batches, in the network's input range; g_l and the BatchNorm statistics with a star are
those of the client's own images. TV is the sum of the norms of the horizontal, vertical and two diagonal differences.
Networks without BatchNorm go without its term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad

from leakward.models import Mode, Task
from leakward.models.activation import hooked
from leakward.models.statistics import Layer, batch_statistics, batchnorm_layers, statistics_distance
from leakward.types import Tensors

GRADIENT, STATISTICS, SMOOTHNESS, SIZE = 1e-2, 1e-2, 1e-5, 1e2
"""Weights of the terms; the error itself has 1."""

Maps = Float[Tensor, "b c h w"]


@dataclass(frozen=True, eq=False)
class Message:
    """What an attacker sees of a batch.

    Attributes:
        gradient: Of the task's loss, by parameter.
        statistics: Of what goes into BatchNorm layers, by buffer.
    """

    gradient: Tensors
    statistics: Tensors


def message(task: Task, state: Tensors, images: Maps, labels: Tensor, mode: Mode) -> Message:
    """Return what ``images``, in [0, 1], would send.

    Args:
        task: Agreed.
        state: Before the step.
        images: Of a batch.
        labels: Indices or probabilities.
        mode: Of the pass. In ``eval`` mode BatchNorm layers use their running statistics; what goes into them is
            measured all the same.
    """
    parameters, buffers = task.split(state)
    layers = batchnorm_layers(task)

    def loss(trained: Tensors) -> tuple[Tensor, Tensors]:
        seen: Tensors = {}
        taps = [(task.model.get_submodule(layer.name), partial(_measure, layer, seen)) for layer in layers]
        with hooked(*(taps if mode == "eval" else [])):
            logits, after = task.forward(trained | buffers, images, mode=mode)
        return task.loss(logits, labels), seen if mode == "eval" else batch_statistics(layers, buffers, after)

    return Message(*grad(loss, has_aux=True)(parameters))


def shadow_loss(layers: Sequence[Layer], generated: Maps, inputs: Maps, found: Message, target: Message) -> Tensor:
    """Return L.

    Args:
        layers: The network's BatchNorm layers.
        generated: G(z), in the network's input range.
        inputs: x, likewise.
        found: Of G(z).
        target: Of x.
    """
    matching = torch.stack(
        [torch.linalg.vector_norm(found.gradient[name] - value) for name, value in target.gradient.items()]
    ).sum()
    total = GRADIENT * matching + SMOOTHNESS * smoothness(generated) + SIZE * size(generated)
    if layers:
        distance = len(layers) * statistics_distance(layers, found.statistics, target.statistics)
        total = total + STATISTICS * distance
    return total + (generated - inputs).square().mean()


def smoothness(images: Maps) -> Float[Tensor, ""]:
    """Return TV."""
    differences = (
        images[..., 1:] - images[..., :-1],
        images[..., 1:, :] - images[..., :-1, :],
        images[..., 1:, 1:] - images[..., :-1, :-1],
        images[..., 1:, :-1] - images[..., :-1, 1:],
    )
    return torch.stack([torch.linalg.vector_norm(part) for part in differences]).sum()


def size(images: Maps) -> Float[Tensor, ""]:
    """Return the norm over the square of the number of pixels."""
    return torch.linalg.vector_norm(images) / images.shape[2:].numel() ** 2


def _measure(layer: Layer, seen: Tensors, _: nn.Module, given: tuple[Tensor, ...], __: Any) -> None:
    values = given[0].transpose(0, 1).flatten(1)
    seen |= zip(layer.statistics, (values.mean(1), values.var(1)), strict=True)
