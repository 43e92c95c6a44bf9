"""A network from features of a message to the images behind it, fitted to examples."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from leakward.attacks.solvers import Progress
from leakward.pace import paced

DARKEST = 1e-3
"""Pixels of the mean image are kept this far from 0 and 1, where the logit is infinite."""

Examples = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Draws features (s f) and the images (s b c h w) that belong to them."""


def start_network(features: int, hidden: int, mean: Float[Tensor, "b c h w"], rng: torch.Generator) -> nn.Sequential:
    """Return two hidden ReLU layers and a sigmoid, which says ``mean`` before it has learnt anything.

    Args:
        features: Inputs.
        hidden: Units of either hidden layer.
        mean: Of the images to be predicted, in [0, 1].
        rng: For the weights, which are drawn as PyTorch's linear layers draw theirs.
    """
    widths = (features, hidden, hidden, mean.numel())
    layers = [_linear(inputs, outputs, rng) for inputs, outputs in pairwise(widths)]
    nn.init.zeros_(layers[2].weight)
    with torch.no_grad():
        layers[2].bias.copy_(mean.cpu().clamp(DARKEST, 1 - DARKEST).logit().flatten())
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.Sigmoid())
    return network.append(nn.Unflatten(1, mean.shape)).to(mean.device)


def fit(
    network: nn.Module,
    examples: Examples,
    iterations: int,
    learning_rate: float,
    rng: torch.Generator,
    progress: Progress,
) -> None:
    """Fit ``network`` with Adam, whose rate falls to a tenth after three quarters of the steps.

    Args:
        network: From features to images; its weights are changed.
        examples: Draws the examples of a step.
        iterations: Steps.
        learning_rate: Of the first step.
        rng: For the examples.
        progress: Called with the fraction done.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(0.75 * iterations)], 0.1)
    for step in paced(range(iterations)):
        features, images = examples(rng)
        optimizer.zero_grad()
        unordered_error(network(features), images).backward()
        optimizer.step()
        schedule.step()
        progress((step + 1) / iterations)


def unordered_error(found: Float[Tensor, "s b c h w"], images: Float[Tensor, "s b c h w"]) -> Float[Tensor, ""]:
    """Return the mean squared error of every set of b images, in the order that makes it smallest."""
    rows = torch.arange(len(images), device=images.device)[:, None]
    return F.mse_loss(found, images[rows, nearest_order(found.detach(), images)])


def nearest_order(found: Float[Tensor, "s b c h w"], images: Float[Tensor, "s b c h w"]) -> Tensor:
    """Return which of ``images`` belongs to which of ``found``, (s b), by optimal assignment of squared distances."""
    cost = torch.cdist(found.flatten(2), images.flatten(2)).square().nan_to_num()
    orders = np.stack([linear_sum_assignment(one)[1] for one in cost.cpu().numpy()])
    return torch.from_numpy(orders).to(images.device)


def _linear(inputs: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")  # nothing is drawn globally
    for values in (layer.weight, layer.bias):
        nn.init.uniform_(values, -(inputs**-0.5), inputs**-0.5, generator=rng)
    return layer
