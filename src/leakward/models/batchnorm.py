"""BatchNorm as a pure function of its inputs, so that a client's step can be replayed and differentiated.

PyTorch's layer writes its running statistics in place, which neither ``vmap`` nor a replay can bear. This
one has the same parameters, buffers and values, but *assigns* new statistics; ``functional_call`` hands them
back to the caller. In eval mode it is an affine map, which is also the faster form under ``vmap``.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leakward.errors import ModelError

TorchBatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class PureBatchNorm(nn.Module):
    """Normalise each channel as ``torch.nn.BatchNorm1d``, ``2d`` and ``3d`` do, without writing in place.

    The new running statistics can be differentiated in the input: where they are shared, an attacker matches them too.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 1.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: TorchBatchNorm) -> None:
        super().__init__()
        assert layer.momentum is not None  # replace_batchnorm refuses it
        self.eps = layer.eps
        self.momentum = layer.momentum
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Normalise with batch statistics in train mode, with running statistics in eval mode.

        Raises:
            ModelError: If a channel has a single value in train mode, which PyTorch's layer refuses as well.
        """
        mean, var = self._batch_statistics(x) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        per_channel = (-1, *[1] * (x.ndim - 2))
        return x * scale.view(per_channel) + shift.view(per_channel)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        count = x.numel() // x.shape[1]
        if count < 2:
            raise ModelError(
                f"BatchNorm in train mode: expected more than one value per channel, got an input of shape "
                f"{tuple(x.shape)}; use more images per local step, larger images, or mode = 'eval'"
            )
        dims = (0, *range(2, x.ndim))
        mean, var = x.mean(dim=dims), x.var(dim=dims, correction=0)
        unbiased = var * (count / (count - 1))
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * unbiased
        self.num_batches_tracked = self.num_batches_tracked + 1
        return mean, var


def replace_batchnorm(model: nn.Module) -> None:
    """Replace every BatchNorm layer of ``model`` in place, names and values kept.

    Raises:
        ModelError: If a layer keeps no running statistics, has no affine part, uses a cumulative average, or is a
            class of its own that does more than BatchNorm.
    """
    for parent_name, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, TorchBatchNorm):
                _require_plain(f"{parent_name}.{name}".lstrip("."), child)
                setattr(parent, name, PureBatchNorm(child))


def _require_plain(name: str, layer: TorchBatchNorm) -> None:
    if type(layer).forward not in (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward):
        raise ModelError(
            f"layer {name!r}: expected torch.nn.BatchNorm1d, 2d or 3d, got {type(layer).__name__}, which has a forward "
            "pass of its own; build the model with PyTorch's layer"
        )
    if not (layer.affine and layer.track_running_stats) or layer.momentum is None:
        raise ModelError(
            f"layer {name!r}: expected BatchNorm with affine=True, track_running_stats=True and a numeric momentum, "
            f"got {layer}; build the model with those settings"
        )
