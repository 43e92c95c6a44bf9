"""Medical networks, as MONAI builds them."""

from torch import nn


def resnet18(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build MONAI's two-dimensional ResNet-18 (He et al. 2016, arXiv:1512.03385), untrained.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
    """
    from monai.networks.nets.resnet import resnet18 as build

    return build(spatial_dims=2, n_input_channels=input_shape[0], num_classes=num_classes)


def densenet121(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build MONAI's two-dimensional DenseNet-121 (Huang et al. 2017, arXiv:1608.06993), untrained.

    Args:
        input_shape: (c, h, w), at least 32 pixels high and wide.
        num_classes: Number of logits.
    """
    from monai.networks.nets.densenet import DenseNet121 as Build

    return Build(spatial_dims=2, in_channels=input_shape[0], out_channels=num_classes)
