"""What BatchNorm layers see of a batch, read off their running statistics.

A layer of momentum m turns its running statistic r and the statistic s of a batch into (1 - m) r + m s, so that whoever
sees r before and after knows s. After n batches it is

    r_n = (1 - m)^n r_0 + sum_i m (1 - m)^(n-i) s_i,        i = 1 .. n,

and ``(r_n - (1 - m)^n r_0) / (1 - (1 - m)^n)`` is a weighted mean of the statistics of those batches, for one batch the
statistic itself. It can be differentiated in the buffers, and by them in the images.

Statistics go by the name of the buffer that keeps them; variances are unbiased, as PyTorch keeps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.models.batchnorm import PureBatchNorm
from leakward.models.task import Task
from leakward.types import Tensors


@dataclass(frozen=True)
class Layer:
    """A BatchNorm layer.

    Attributes:
        name: Of the layer in the network.
        momentum: Share of a new batch in its running statistics, in (0, 1].
    """

    name: str
    momentum: float

    @property
    def statistics(self) -> tuple[str, str]:
        """Return the names of its running mean and running variance."""
        return f"{self.name}.running_mean", f"{self.name}.running_var"

    @property
    def batches(self) -> str:
        """Return the name of the number of batches it has seen."""
        return f"{self.name}.num_batches_tracked"


def batchnorm_layers(task: Task) -> tuple[Layer, ...]:
    """Return the layers whose running statistics follow the batches, in the network's order."""
    modules = task.model.named_modules()
    return tuple(Layer(name, m.momentum) for name, m in modules if isinstance(m, PureBatchNorm) and m.momentum > 0)


def batch_statistics(layers: Sequence[Layer], before: Tensors, after: Tensors) -> Tensors:
    """Return the statistics, each (c), of the batches seen between two sets of buffers.

    Args:
        layers: Those to read.
        before: Buffers before the first batch.
        after: Buffers after the last; how many there were is read off the layers' own count.
    """
    found: Tensors = {}
    for layer in layers:
        batches = (after[layer.batches] - before[layer.batches]).clamp_min(1)
        kept = (1 - layer.momentum) ** batches
        found |= {name: (after[name] - kept * before[name]) / (1 - kept) for name in layer.statistics}
    return found


def statistics_distance(
    layers: Sequence[Layer], found: Tensors, target: Tensors, *, first: float = 1.0
) -> Float[Tensor, ""]:
    """Return the mean over layers of ``|mean - target mean| + |variance - target variance|``, Euclidean norms.

    Args:
        layers: At least one.
        found: Statistics of a candidate.
        target: Those to match.
        first: Weight of the first layer in that mean; the others have 1.
    """
    weights = [first] + [1.0] * (len(layers) - 1)
    terms = [
        weight * torch.linalg.vector_norm(found[name] - target[name])
        for weight, layer in zip(weights, layers, strict=True)
        for name in layer.statistics
    ]
    return torch.stack(terms).sum() / sum(weights)
