"""When the curious abandon honesty: Boenisch et al. 2023 (arXiv:2112.02918). The server is malicious.

It keeps the agreed network and sends trap weights for its first layer, which is linear and sees the whole image. Half
of each row, at random places, is negative, and the other half are the same numbers a little smaller:

    w- = -|u|,   w+ = s |u'|,   u ~ N(0, 1),   u' a permutation of u,   0 < s < 1

On images in [0, 1] the negative half mostly wins, so that few images pass the ReLU of a unit. A unit that one image of
the batch passed gives it away exactly, whatever the number of images:

    x = dL/dW_i / dL/db_i

| symbol | here |
|---|---|
| s | found by bisection, such that an image passes a share ``passing`` of the units |
| images for that | public ones; without any, noise of N(``brightness``, ``contrast``^2) per pixel, kept in [0, 1] |

What differs from the paper: s is fitted instead of tried out by data set; rows of one image are told from mixtures by
replay (``row_replay``) and not by the data; the weights undo the normalisation of the task. The paper also passes the
image through convolutions to a hidden linear layer. Of the built-in networks only ``mlp`` has such a layer: in the
others pooling or strides drop pixels, and the only linear layer is the classifier. They are not attacked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leakward.attacks.attack import Attack
from leakward.attacks.reading.rows import answer, candidates, distinct, layer_rows
from leakward.attacks.reading.sequence import first_linear
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.solvers import Progress
from leakward.fields import check, positive
from leakward.models import Task
from leakward.threat import Observation
from leakward.types import Batch, Tensors

HALVINGS = 30
SAMPLES = 64
"""Images of noise where the server holds no public ones."""
TOLERANCE = 1e-3
"""Up to which rows share one s, after rounding to single precision."""


@dataclass(frozen=True)
class CuriousAbandonHonesty(Attack):
    """Set trap weights, which few images pass, in the first layer (malicious server).

    Attributes:
        passing: Share of the units that an image passes, in (0, 1).
        brightness: Mean of a pixel, where the server holds no public images.
        contrast: Standard deviation of a pixel, likewise.
    """

    passing: float = 0.1
    brightness: float = 0.5
    contrast: float = 0.25

    paper: ClassVar[str] = "Boenisch et al. 2023, arXiv:2112.02918"
    active: ClassVar[bool] = True
    cost: ClassVar[str] = "one division per unit"

    def __post_init__(self) -> None:
        check(
            self,
            ("passing", self.passing, "a number in (0, 1)", 0 < self.passing < 1),
            positive("brightness", self.brightness),
            positive("contrast", self.contrast),
        )

    def plant(self, task: Task, state: Tensors, public: Batch | None, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Return the agreed network with trap weights in its first layer, or unchanged where it has no such layer."""
        layer = first_linear(task, nn.ReLU)
        if layer is None:
            return task, state
        like = state[f"{layer}.weight"]
        if public is None:
            noise = torch.randn(SAMPLES, *task.spec.input_shape, generator=rng)
            images = (self.brightness + self.contrast * noise).clamp(0, 1)
        else:
            images = public.images.cpu()
        negative, positive_half = _halves(like.shape[0], like.shape[1], rng)
        traps = _traps(negative, positive_half, images.flatten(1), self.passing)
        shift, scale = _normalisation(task)
        planted = {f"{layer}.weight": (traps * scale).to(like), f"{layer}.bias": (traps @ shift).to(like)}
        return task, state | planted

    def applies(self, observation: Observation) -> bool:
        """Return whether SGD, or one gradient, was taken on weights that ``plant`` made."""
        recipe, layer = observation.recipe, first_linear(observation.task, nn.ReLU)
        if layer is None or (recipe.share == "update" and recipe.optimizer != "sgd"):
            return False
        traps = observation.state[f"{layer}.weight"].double().cpu() / _normalisation(observation.task)[1]
        ratio = traps.clamp(min=0).sum(1) / traps.clamp(max=0).sum(1).abs()
        return bool((ratio < 1).all() and (ratio - ratio[0]).abs().max() < TOLERANCE)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover every image that some unit saw alone, exactly."""
        del rng
        found = [_recover(observation) for observation in observations]
        progress(1.0)
        return found


def _recover(observation: Observation) -> Reconstruction:
    layer = first_linear(observation.task, nn.ReLU)
    assert layer is not None  # applies
    found = candidates(observation, layer, layer_rows(observation, layer))
    return answer(observation, None if found is None else distinct(found))


def _halves(rows: int, pixels: int, rng: torch.Generator) -> tuple[Float[Tensor, "r n"], Float[Tensor, "r n"]]:
    """Return the negative half of every row, and the other half before it is made smaller."""
    half = pixels // 2
    size = torch.randn(rows, half, generator=rng).abs() / math.sqrt(pixels)
    places = torch.rand(rows, pixels, generator=rng).argsort(1)
    shuffled = size.gather(1, torch.rand(rows, half, generator=rng).argsort(1))
    empty = torch.zeros(rows, pixels)
    return empty.scatter(1, places[:, :half], -size), empty.scatter(1, places[:, half : 2 * half], shuffled)


def _traps(
    negative: Float[Tensor, "r n"], positive: Float[Tensor, "r n"], images: Float[Tensor, "m n"], passing: float
) -> Float[Tensor, "r n"]:
    """Return the weights whose s lets ``passing`` of all pairs of an image and a row through."""
    against, for_ = images @ negative.T, images @ positive.T
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fewer = float((against + middle * for_ > 0).float().mean()) < passing
        low, high = (middle, high) if fewer else (low, middle)
    return negative + low * positive


def _normalisation(task: Task) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return per pixel what the task subtracts and what it divides by."""
    zero, one = (task.denormalize(torch.full(task.spec.input_shape, value)).flatten() for value in (0.0, 1.0))
    return zero, one - zero
