"""Soteria: Sun et al. 2021, "Provable defense against privacy leakage from representation" (arXiv:2012.06043, CVPR).

    s_i = (1 / b) sum_j |r_i(x_j)| / ||d r_i(x_j) / d x_j||_2,   r(x) = what enters the last linear layer
    g'_W[:, i] = 0 for the floor(p d) of the d features with the largest s_i,   g' = g elsewhere

| symbol | field |
|---|---|
| p | ``ratio`` |

A feature that the image hardly moves hides large changes of the image behind small ones of its own. Where a derivative
is 0, so is the term: such a feature says nothing of the image. Features are those of eval mode; r is read off as the
derivative of a logit with respect to the weights that multiply it, so that any network will do whose last layer is
linear.

An attacker who knows of it drops what was zeroed and keeps everything else, which is untouched (Balunović et al. 2022,
arXiv:2111.04706). Over several local steps, each of which zeroes columns of its own, the attacker drops the
whole matrix.

What differs from the authors' code: they average ||d r_i / dx|| / (r_i + 0.1) instead, whose smallest values they zero.
A unit of ReLU that is off for all images then comes first, although its column is zero anyway, and so does a negative
feature. The zeroed share is 0.6 in their script against Inverting Gradients, 0.01 in their notebook against DLG.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vjp, vmap

from leakward.errors import DefenseError, ModelError
from leakward.federated import Defense, Evidence, LocalTraining, NoDefense
from leakward.federated.defense import SINGLE_GRADIENT, Step
from leakward.fields import check
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors

ROWS = 32
"""Features whose derivatives are computed at once."""


@dataclass(frozen=True)
class Soteria(Defense):
    """Zero the columns of the last layer's gradient that would give most of the images away.

    Attributes:
        ratio: Share of the columns that are set to zero, in [0, 1).
    """

    ratio: float = 0.6

    def __post_init__(self) -> None:
        check(self, ("ratio", self.ratio, "a number in [0, 1)", 0 <= self.ratio < 1))

    @property
    def mixes_images(self) -> bool:
        """Return that all images choose the columns that each loses."""
        return True

    def on_gradient(self, task: Task, parameters: Tensors, step: Step, gradient: Tensors, tape: Tape) -> Tensors:
        """Zero the chosen columns."""
        del tape
        name = _last_layer(task)
        score = exposure(task, {n: value.detach() for n, value in parameters.items()}, step)
        rank = score.argsort(descending=True, stable=True).argsort()
        return gradient | {name: gradient[name] * (rank >= int(self.ratio * len(score)))}

    def replay(self) -> Defense:
        """Replay the undefended client; ``evidence`` says which entries to compare."""
        return NoDefense()

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Drop the zeroed columns, or after several local steps the matrix, and trust the rest."""
        weight = super().evidence(message, images, recipe).weight
        name = next(n for n in reversed(message) if message[n].ndim == 2)
        single = recipe.share == "gradient"
        kept = message[name].any(0).expand_as(message[name]) if single else torch.zeros_like(message[name])
        return Evidence(message, weight | {name: kept.to(message[name].dtype)})


def exposure(task: Task, parameters: Tensors, step: Step) -> Float[Tensor, " d"]:
    """Return s: how much of the images every feature that enters the last layer gives away, on average."""
    name = _last_layer(task)

    def features(image: Tensor) -> Tensor:
        def logit(weight: Tensor) -> Tensor:
            return task.forward(parameters | step.buffers | {name: weight}, image[None])[0][0, 0]

        return grad(logit)(parameters[name])[0]

    def one(image: Tensor) -> Tensor:
        value, pull = vjp(features, image)[:2]
        units = torch.eye(len(value), dtype=value.dtype, device=value.device)
        slope = vmap(lambda unit: pull(unit)[0].square().sum().sqrt(), chunk_size=ROWS)(units)
        moves = slope > 0
        return torch.where(moves, value.abs() / torch.where(moves, slope, 1.0), 0.0)

    return vmap(one)(step.images.detach()).mean(0)


def _last_layer(task: Task) -> str:
    try:
        return task.classifier[0]
    except ModelError as error:
        raise DefenseError(
            f"Soteria: expected a network that ends in a trained linear layer with bias, got {task.spec.model!r}; "
            "use one that does"
        ) from error
