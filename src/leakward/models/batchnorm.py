"""BatchNorm as a pure function of its inputs, so that a client's step can be replayed and differentiated.

PyTorch's layer writes its running statistics in place, which neither ``vmap`` nor a replay can bear. This
one has the same parameters, buffers and values, but *assigns* new statistics; ``functional_call`` hands them
back to the caller. In eval mode it is an affine map, which is also the faster form under ``vmap``.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as TorchBatchNorm

from leakward.errors import ModelError


class PureBatchNorm(nn.Module):
    """Normalise each channel as ``torch.nn.BatchNorm2d`` does, without writing in place.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 1.
    """

    def __init__(self, layer: TorchBatchNorm) -> None:
        super().__init__()
        self.eps = layer.eps
        self.momentum = layer.momentum
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise with batch statistics in train mode, with running statistics in eval mode."""
        mean, var = self._batch_statistics(x) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(dim=(0, 2, 3))
        var = x.var(dim=(0, 2, 3), correction=0)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        unbiased = var * (count / max(count - 1, 1))
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean.detach()
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * unbiased.detach()
        self.num_batches_tracked = self.num_batches_tracked + 1
        return mean, var


def replace_batchnorm(model: nn.Module) -> None:
    """Replace every BatchNorm layer of ``model`` in place, names and values kept.

    Raises:
        ModelError: If a layer keeps no running statistics, has no affine part, or uses a cumulative average.
    """
    for parent_name, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, TorchBatchNorm):
                _require_plain(f"{parent_name}.{name}".lstrip("."), child)
                setattr(parent, name, PureBatchNorm(child))


def _require_plain(name: str, layer: TorchBatchNorm) -> None:
    if not (layer.affine and layer.track_running_stats) or layer.momentum is None:
        raise ModelError(
            f"layer {name!r}: expected BatchNorm with affine=True, track_running_stats=True and a numeric momentum, "
            f"got {layer}; build the model with those settings"
        )
