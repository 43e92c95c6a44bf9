"""A fully connected network, whose first layer gives its input away exactly (Phong et al. 2018)."""

from torch import nn

from leakward.models.task import SplitModel


def mlp(input_shape: tuple[int, int, int], num_classes: int, *, hidden: int = 128) -> SplitModel:
    """Build one hidden ReLU layer of ``hidden`` units.

    Args:
        input_shape: (c, h, w).
        num_classes: Number of logits.
        hidden: Units of the hidden layer.
    """
    channels, height, width = input_shape
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, hidden), nn.ReLU())
    return SplitModel(encoder, nn.Linear(hidden, num_classes))
