"""Images read off the rows of a linear layer that sees the whole image.

A unit i that a single image x switches on has ``dL/dW_i = dL/db_i x`` (Phong et al. 2018, section III), so their ratio
is the image. A unit that several images switch on has a mixture of them; ``row_replay`` tells the two apart.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leakward.attacks.reading.readable import readable
from leakward.attacks.reading.row_replay import explain
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.solvers import Status
from leakward.threat import Observation

ROUNDING = 1e-6
"""A bias gradient below this share of the largest is rounding, in single precision."""
COPY = 0.01
"""Root mean square difference up to which two candidates are one image."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What the batch, summed over its images, left in one linear layer.

    Attributes:
        units: Which rows they are; those without a bias gradient are left out.
        weight: Gradient by the weights.
        bias: Gradient by the biases.
        lost: Entries of ``weight`` that a defence is known to have left out; not all of a row.
    """

    units: Int[Tensor, " r"]
    weight: Float[Tensor, "r n"]
    bias: Float[Tensor, " r"]
    lost: Bool[Tensor, "r n"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images read off rows.

    Attributes:
        images: In [0, 1].
        labels: The class that explains each best.
        doubt: 0 where a row is explained by its image alone, within [0, 1]; larger is worse.
    """

    images: Float[Tensor, "m c h w"]
    labels: Int[Tensor, " m"]
    doubt: Float[Tensor, " m"]


def summed(observation: Observation, name: str) -> tuple[Tensor, Tensor]:
    """Return one tensor's gradient, summed over the images, and which entries a defence is known to have left out.

    It is exact for one step of SGD. Of several it is the mean, as if the gradient had stayed what it was.
    """
    sent, recipe = observation.update, observation.recipe
    value = readable(observation)[name].double()
    lost = torch.zeros_like(value, dtype=torch.bool)
    if observation.threat.knowledge == "aware":
        trust = observation.evidence().weight[name]
        lost = (trust == 0) & (value == 0)
    if recipe.share == "update":
        value = value / (recipe.learning_rate * len(recipe.step_sizes(observation.images_per_client)))
        value = value - recipe.weight_decay * observation.state[name].double()
    return sent.images * value, lost


def layer_rows(observation: Observation, layer: str) -> Rows:
    """Return the rows of ``layer``, in double precision."""
    weight, lost = summed(observation, f"{layer}.weight")
    bias, _ = summed(observation, f"{layer}.bias")
    units = ((bias != 0) & ~lost.all(1)).nonzero().squeeze(1)
    return Rows(units, weight[units], bias[units], lost[units])


def candidates(observation: Observation, layer: str, rows: Rows) -> Candidates | None:
    """Return the image of every row that carries a signal; None if none does, or one is not finite."""
    if not (len(rows.bias) and torch.isfinite(rows.weight).all() and torch.isfinite(rows.bias).all()):
        return None
    loud = (rows.bias.abs() > ROUNDING * rows.bias.abs().max()) & ~rows.lost.all(1)
    if not loud.any():
        return None
    units, weight, bias, lost = rows.units[loud], rows.weight[loud], rows.bias[loud], rows.lost[loud]
    pixels = _without_gaps(weight / bias[:, None], lost)
    raw = observation.task.denormalize(pixels.view(-1, *observation.task.spec.input_shape))
    images = raw.clamp(0, 1).float()
    labels, mismatch = explain(observation, images, layer, units, bias)
    return Candidates(images, labels, mismatch + (raw - images).abs().mean((1, 2, 3)))


def distinct(found: Candidates) -> Candidates:
    """Return candidates without near copies, of which the least doubtful stays."""
    pixels = found.images.flatten(1)
    apart = torch.cdist(pixels, pixels) / pixels.shape[1] ** 0.5
    kept: list[int] = []
    for i in found.doubt.argsort(stable=True).tolist():
        if not kept or float(apart[i, kept].min()) > COPY:
            kept.append(i)
    return Candidates(found.images[kept], found.labels[kept], found.doubt[kept])


def answer(observation: Observation, found: Candidates | None) -> Reconstruction:
    """Return as many candidates as the batch has images, the least doubtful first.

    Where there are fewer, the most doubtful are repeated: they are mixtures, and hold the images that are missing.
    """
    if found is None:
        return Reconstruction(None, None, float("inf"), Status.NON_FINITE)
    count, order = observation.update.images, found.doubt.argsort(stable=True)
    chosen = torch.cat([order, order.flip(0).repeat(math.ceil(count / len(order)))])[:count]
    labels = found.labels[chosen] if observation.labels is None else observation.labels
    return Reconstruction(found.images[chosen], labels, float(found.doubt[chosen].mean()), Status.OK)


def _without_gaps(pixels: Float[Tensor, "m n"], lost: Bool[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Fill what was left out of an image with the mean of the rest."""
    mean = (pixels * ~lost).sum(1) / (~lost).sum(1)
    return torch.where(lost, mean[:, None], pixels)
