"""An agreed network whose BatchNorm layers are GroupNorm layers: Wu and He 2018 (arXiv:1803.08494)."""

from torch import nn

from leakward.errors import ModelError
from leakward.models.around import Plain, build_agreed
from leakward.models.batchnorm import TorchBatchNorm


def group_normalised(input_shape: tuple[int, int, int], num_classes: int, *, groups: int, **agreed: Plain) -> nn.Module:
    """Build the agreed network and replace every BatchNorm layer, names of weights and biases kept.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
        groups: Into which the channels of every layer are divided.
        agreed: As ``around`` puts it.

    Raises:
        ModelError: If there is no such layer, or one whose channels cannot be divided so.
    """
    model = build_agreed(input_shape, num_classes, agreed)
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, TorchBatchNorm)]
    if not found:
        raise ModelError("expected a network with BatchNorm, got one without; there is nothing to replace")
    for name, layer in found:
        if layer.num_features % groups:
            raise ModelError(
                f"layer {name!r}: expected channels that {groups} groups divide evenly, got {layer.num_features}; "
                "choose another number of groups"
            )
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.GroupNorm(groups, layer.num_features, layer.eps))
    return model
