"""Where a network looks: Grad-CAM++ (Chattopadhyay et al. 2018, arXiv:1710.11063), as a pure function.

With A the last map, channel k, and y the score of a class,

    g = dy/dA,   alpha = g^2 / (2 g^2 + sum_hw A g^3),   w_k = sum_hw alpha relu(g),   cam = relu(sum_k w_k A_k),

enlarged bilinearly and brought to [0, 1] per image. The last map is the output of the last layer or block that has more
than one pixel and is no pooling: the last block of a ResNet, the encoder of a ``SplitModel``. The paper's exp(y) in w
scales a whole map, so that it cancels. MONAI's class, against which this is tested, needs a network that holds its own
weights, and ``backward``.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional as F

from leakward.errors import ModelError
from leakward.models.task import Task
from leakward.types import Tensors

POOLS: tuple[type[nn.Module], ...] = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveAvgPool2d,
    nn.LPPool2d,
)
Cam = Float[Tensor, "b h w"]


def class_activation(
    task: Task, state: Tensors, images: Float[Tensor, "b c h w"], weights: Float[Tensor, "b k"]
) -> Cam:
    """Return where the network, in eval mode, looks for a class, in [0, 1].

    Args:
        task: With a convolutional network.
        state: Its weights.
        images: In [0, 1].
        weights: Of the classes in the score of every image, such as one-hot.

    Raises:
        ModelError: If the network has no map with more than one pixel.
    """
    name, shape = last_map(task)
    layer = task.model.get_submodule(name)

    def score(nudge: Tensor) -> tuple[Tensor, Tensor]:
        found: list[Tensor] = []

        def tap(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            found.append(output)
            return output + nudge

        with hooked((layer, tap)):
            logits, _ = task.forward(state, images)
        return (logits * weights).sum(), found[0]

    gradient, maps = grad(score, has_aux=True)(images.new_zeros(len(images), *shape))
    cam = F.interpolate(combine(maps, gradient)[:, None], images.shape[2:], mode="bilinear", align_corners=False)
    return _unit(cam[:, 0])


def combine(maps: Float[Tensor, "b k h w"], gradient: Float[Tensor, "b k h w"]) -> Cam:
    """Return the Grad-CAM++ of maps and the derivatives of the score in them, not yet scaled."""
    square = gradient.square()
    below = 2 * square + (maps * gradient**3).sum((2, 3), keepdim=True)
    alpha = torch.where(below == 0, 0.0, square / torch.where(below == 0, 1.0, below))
    return ((alpha * gradient.relu()).sum((2, 3), keepdim=True) * maps).sum(1).relu()


def top(cam: Cam, share: float) -> Cam:
    """Return 1 for the largest ``share`` of the pixels of each image, and 0 for the others."""
    flat = cam.flatten(1)
    largest = flat.topk(int(share * flat.shape[1]), dim=1).indices
    return torch.zeros_like(flat).scatter(1, largest, 1.0).view(cam.shape)


def keep_top(cam: Cam, share: float) -> Cam:
    """Set all but the largest ``share`` of the pixels of each image to 0."""
    return cam * top(cam, share)


@torch.compiler.assume_constant_result
def last_map(task: Task) -> tuple[str, tuple[int, int, int]]:
    """Return the name of the layer or block whose output is the last map, and (k h w) of it."""
    return _last_map(task)


@lru_cache(maxsize=16)
def _last_map(task: Task) -> tuple[str, tuple[int, int, int]]:
    found: list[tuple[str, tuple[int, int, int]]] = []

    def look(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
            found.append((name, (output.shape[1], output.shape[2], output.shape[3])))

    taps = [(m, partial(look, name)) for name, m in task.model.named_modules() if name and not isinstance(m, POOLS)]
    state = {name: value.to("meta") for name, value in task.model.state_dict().items()}
    like = state[task.parameter_names[0]]
    with hooked(*taps):
        task.forward(state, like.new_zeros(1, *task.spec.input_shape))
    if not found:
        raise ModelError(
            f"class-activation map: expected a network with a convolutional map, got {task.spec.model!r}; use another"
        )
    return found[-1]


@contextmanager
def hooked(*taps: tuple[nn.Module, Callable[..., Any]]) -> Generator[None, None, None]:
    """Let functions see, and replace, the outputs of modules for as long as the context lasts."""
    handles = [module.register_forward_hook(function) for module, function in taps]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _unit(cam: Cam) -> Cam:
    """Bring each image to [0, 1]; a flat one to 0."""
    low, high = cam.amin((1, 2), keepdim=True), cam.amax((1, 2), keepdim=True)
    flat = high == low
    return torch.where(flat, 0.0, (cam - low) / torch.where(flat, 1.0, high - low))
