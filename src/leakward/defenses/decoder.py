"""The client's private decoder: Jiang et al. 2025 (arXiv:2503.16542), Table I.

| layer | kernel | stride | followed by |
|---|---|---|---|
| transposed convolution, latent channels | 3 | 1 | BatchNorm, ReLU |
| transposed convolution, latent channels | 4 | 1 | BatchNorm, ReLU |
| transposed convolution, image channels | 2 to 4, see below | 2 | |

No padding. A latent map of height h comes out of the second layer with h + 5 rows, and out of the last one, with
kernel k, with 2 (h + 4) + k. Table I prints k = 2 for 32 pixels and k = 4 for 28, which gives 30 both times; swapped
they fit: k = 4 for latent 10 and 32 pixels, k = 2 for latent 9 and 28. For each side where no k from 2 to 4 fits, k
is 2 (3 for an odd side) and the map before the last layer is resized bilinearly to the one size that does fit.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from leakward.defenses.latent_map import latent_of
from leakward.federated import optim
from leakward.models import Task
from leakward.tape import Tape
from leakward.types import Tensors

GROWTH = 5
STRIDE = 2
KERNELS = (2, 3, 4)
Shape = tuple[int, int, int]


@lru_cache(maxsize=16)
def build(latent: Shape, image: Shape) -> nn.Sequential:
    """Build the decoder from a latent map (c h w) to an image (c h w): structure only, without weights."""
    channels = latent[0]
    grown = (latent[1] + GROWTH, latent[2] + GROWTH)
    (height, tall), (width, wide) = (_fit(small, side) for small, side in zip(grown, image[1:], strict=True))
    resize = [] if (height, width) == grown else [nn.Upsample((height, width), mode="bilinear")]
    with torch.device("meta"):
        return nn.Sequential(
            *_block(channels, 3), *_block(channels, 4), *resize,
            nn.ConvTranspose2d(channels, image[0], (tall, wide), stride=STRIDE),
        )  # fmt: skip


def for_task(task: Task) -> nn.Sequential:
    """Build the decoder that fits the latent map of ``task``, whose noise is set."""
    channels, height, width = latent_of(task).mean.shape
    return build((channels, height, width), task.spec.input_shape)


def start(decoder: nn.Module, tape: Tape, like: Tensor) -> Tensors:
    """Draw weights as PyTorch's layers do, U(-1, 1) / sqrt(fan-in), and set up Adam: all that the client keeps."""
    weights: Tensors = {}
    for name, layer in decoder.named_modules():
        if isinstance(layer, nn.ConvTranspose2d):
            bound = layer.weight[0].numel() ** -0.5
            for part, value in layer.named_parameters():
                weights[f"{name}.{part}"] = bound * (2 * tape.uniform(tuple(value.shape), like) - 1)
        elif isinstance(layer, nn.BatchNorm2d):
            ones = torch.ones(layer.num_features, dtype=like.dtype, device=like.device)
            weights |= {f"{name}.weight": ones, f"{name}.bias": torch.zeros_like(ones)}
    return pack(weights, optim.start(weights))


def decode(decoder: nn.Module, private: Tensors, latent: Tensor) -> Tensor:
    """Return the decoder's images; BatchNorm takes the statistics of this batch."""
    return functional_call(decoder, unpack(private)[0], (latent,), strict=True)


def descend(
    decoder: nn.Module, private: Tensors, latent: Tensor, loss: Callable[[Tensor], Tensor], learning_rate: float
) -> Tensors:
    """Return the helpers after one step of Adam on ``loss`` of the decoder's images."""
    weights, memory = unpack(private)
    gradient = grad(lambda moved: loss(functional_call(decoder, moved, (latent,), strict=True)))(weights)
    return pack(*optim.adam_step(weights, gradient, memory, learning_rate=learning_rate))


def pack(weights: Tensors, memory: optim.OptimizerState) -> Tensors:
    """Put weights and optimiser into one table of tensors."""
    groups = {"weight": weights, "first": memory.first, "second": memory.second}
    table = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
    return table | {"steps": torch.tensor(memory.steps)}


def unpack(private: Tensors) -> tuple[Tensors, optim.OptimizerState]:
    """Undo ``pack``."""
    groups: dict[str, Tensors] = {"weight": {}, "first": {}, "second": {}}
    for key, value in private.items():
        group, _, name = key.partition("/")
        if name:
            groups[group][name] = value
    return groups["weight"], optim.OptimizerState(int(private["steps"]), groups["first"], groups["second"])


def _block(channels: int, kernel: int) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(channels, channels, kernel),
        nn.BatchNorm2d(channels, track_running_stats=False),
        nn.ReLU(),
    ]


def _fit(grown: int, side: int) -> tuple[int, int]:
    """Return the size before the last layer and its kernel, so that ``side`` pixels come out."""
    kernel = side - STRIDE * (grown - 1)
    if kernel in KERNELS:
        return grown, kernel
    kernel = 2 + side % 2
    return (side - kernel) // STRIDE + 1, kernel
