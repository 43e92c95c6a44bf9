"""The layers that R-GAP goes back through: which networks have them, and the linear system that each of them is.

One layer with input ``x`` (c h w), kernel ``W`` (o c u), output ``z = W * x + b`` (o p) and ``k = dL/dz`` gives

    gradient constraints    sum_p k[o, p] x[c, p + u]       = dL/dW[o, c, u]     for every o, c and u
    weight constraints      sum_cu W[o, c, u] x[c, p + u]   = z[o, p] - b[o]     for every o and p

both linear in ``x``; ``p + u`` is the pixel that position ``u`` of the kernel sees at position ``p`` of the output.
Padding is left out of ``x``, which is the same as the paper's rows that say it is 0.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.linalg import lstsq
from torch import Tensor, nn
from torch.nn import functional as F

from leakward.attacks.reading.sequence import sequence
from leakward.attacks.searching.matching import TINY
from leakward.models import Task

CUTOFF = 1e-7
"""Directions with less than this share of the largest singular value are left at 0: messages are single precision."""
ENOUGH = 1e-4
"""Gradient constraints whose singular values differ by less than this factor determine the input alone."""
MARGIN = 1e-6
"""How far the estimated output of a sigmoid or tanh is kept from its bounds before it is inverted."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or a linear layer, with the activation after it.

    Attributes:
        name: Its tensors are ``name.weight`` and, where it has one, ``name.bias``.
        module: Structure only.
        shape: (c, h, w) of its input; a linear layer sees channels of one pixel.
        outputs: Numbers in its output.
        activation: None where there is none.
    """

    name: str
    module: nn.Conv2d | nn.Linear
    shape: tuple[int, int, int]
    outputs: int
    activation: nn.Module | None = None

    @property
    def inputs(self) -> int:
        """Return the numbers in its input."""
        return math.prod(self.shape)

    def undo_activation(self, after: Tensor) -> tuple[Tensor, Tensor]:
        """Return what went into the activation, and its derivative there, given what came out."""
        match self.activation:
            case nn.LeakyReLU(negative_slope=slope):
                rate = torch.where(after > 0, torch.ones_like(after), torch.full_like(after, slope))
                return after / rate, rate
            case nn.Sigmoid():
                after = after.clamp(MARGIN, 1 - MARGIN)
                return after.logit(), after * (1 - after)
            case nn.Tanh():
                after = after.clamp(MARGIN - 1, 1 - MARGIN)
                return after.atanh(), 1 - after.square()
            case _:
                return after, torch.ones_like(after)

    def seen(self) -> Int[Tensor, "u p"]:
        """Return the pixel that each position of the kernel sees at each position of the output; -1 is padding."""
        if isinstance(self.module, nn.Linear):
            return torch.zeros(1, 1, dtype=torch.long)
        _, height, width = self.shape
        rows, columns = self.module.kernel_size
        pixels = torch.arange(1, height * width + 1, dtype=torch.float64).view(1, 1, height, width)
        each = torch.eye(rows * columns, dtype=torch.float64).view(-1, 1, rows, columns)
        found = F.conv2d(
            pixels, each, stride=self.module.stride, padding=self.module.padding, dilation=self.module.dilation
        )
        return found[0].flatten(1).round().long() - 1


def read_layers(task: Task) -> list[Layer] | None:
    """Return the layers of a network that R-GAP can go back through, first to last, else None.

    They are convolutions and linear layers, each followed by at most one LeakyReLU, sigmoid or tanh, the last a linear
    layer with bias and without activation. Pooling, normalisation and ReLU cannot be inverted.
    """
    found: list[Layer] = []
    shape, trained = task.spec.input_shape, {*task.parameter_names}
    for name, module in sequence(task) or []:
        match module:
            case nn.Identity():
                pass
            case nn.Flatten(start_dim=1, end_dim=-1):
                shape = (math.prod(shape), 1, 1)
            case nn.Conv2d() | nn.Linear() if _fits(module, shape) and f"{name}.weight" in trained:
                after = _output_shape(module, shape)
                found.append(Layer(name, module, shape, math.prod(after)))
                shape = after
            case nn.LeakyReLU() | nn.Sigmoid() | nn.Tanh() if found and _invertible(module, found[-1]):
                found[-1] = replace(found[-1], activation=module)
            case _:
                return None
    return found if found and _classifies(found[-1], trained) else None


def rank_analysis(task: Task) -> dict[str, int]:
    """Return the rank analysis index of every layer by name, first to last.

    It is the unknowns minus the constraints: entries of the input, minus entries of kernel and output, minus the
    virtual constraints, which are those left over from the layers before it. Where one is above 0, the image is not
    determined, however the constraints are solved.

    Raises:
        ValueError: If the network is not one that ``read_layers`` reads.
    """
    layers = read_layers(task)
    if layers is None:
        raise ValueError(
            f"rank_analysis: expected a sequence of convolutions and linear layers with invertible activations, "
            f"got model {task.spec.model!r}; choose cnn6 or lenet"
        )
    found, virtual = {}, 0
    for layer in layers:
        lacking = layer.inputs - layer.module.weight.numel() - layer.outputs
        found[layer.name] = lacking - virtual
        virtual += max(layer.outputs - layer.inputs - max(lacking, 0), 0)
    return found


def constraints(
    layer: Layer, kernel: Float[Tensor, "o c kh kw"], k: Float[Tensor, "o p"]
) -> tuple[Float[Tensor, "ou hw"], Float[Tensor, "op chw"]]:
    """Return the matrix of the gradient constraints, the same for every channel, and that of the weight constraints."""
    seen, pixels = layer.seen(), layer.shape[1] * layer.shape[2]
    (outputs, channels), (positions, places) = kernel.shape[:2], seen.shape
    gradient = k.new_zeros(outputs, positions, pixels)
    weight = k.new_zeros(outputs, places, channels, pixels)
    for u, pixel in enumerate(seen):
        inside = (pixel >= 0).nonzero().squeeze(1)
        gradient[:, u, pixel[inside]] = k[:, inside]
        weight[:, inside, :, pixel[inside]] = kernel.flatten(2)[None, :, :, u].expand(len(inside), -1, -1)
    return gradient.flatten(0, 1), weight.flatten(2).flatten(0, 1)


def solve(
    gradient: Float[Tensor, "ou hw"],
    correlated: Float[Tensor, "c ou"],
    trust: Float[Tensor, "c ou"],
    weight: Float[Tensor, "op chw"],
    output: Float[Tensor, " op"],
) -> Float[Tensor, " chw"]:
    """Return the input that fits the constraints best, and the shortest of several.

    Where the gradient constraints alone determine it, the others are left out: their right-hand sides come from the
    layers behind, and bring the errors of those.

    Args:
        gradient: Of the gradient constraints, which hold for every channel.
        correlated: Their right-hand sides, the entries of dL/dW.
        trust: How far each of those is trusted, in [0, 1].
        weight: Of the weight constraints.
        output: Their right-hand sides, z - b.
    """
    pixels = gradient.shape[1]
    both = torch.cat([gradient.expand(len(correlated), -1, -1), correlated[:, :, None]], dim=2)
    reduced = torch.linalg.qr(trust.sqrt()[:, :, None] * both, mode="r").R  # no more rows than unknowns
    matrix, right = reduced[:, :, :pixels], reduced[:, :, pixels:]
    if _determined(matrix):
        return torch.linalg.solve_triangular(matrix[:, :pixels], right[:, :pixels], upper=True).flatten()
    balance = weight.norm() / matrix.norm().clamp_min(TINY)
    left = torch.cat([torch.block_diag(*(balance * matrix)), weight])
    right = torch.cat([balance * right.flatten(), output])
    found: Any = lstsq(left.numpy(), right.numpy(), cond=CUTOFF, lapack_driver="gelsy")  # torch's own is not repeatable
    return torch.from_numpy(found[0])


def _determined(triangles: Float[Tensor, "c r hw"]) -> bool:
    if triangles.shape[1] < triangles.shape[2]:
        return False
    values = torch.linalg.svdvals(triangles)
    return bool((values[:, -1] > ENOUGH * values[:, 0]).all())


def _fits(module: nn.Conv2d | nn.Linear, shape: tuple[int, int, int]) -> bool:
    if isinstance(module, nn.Linear):
        return shape == (module.in_features, 1, 1)
    return module.groups == 1 and module.padding_mode == "zeros" and module.in_channels == shape[0]


def _output_shape(module: nn.Conv2d | nn.Linear, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if isinstance(module, nn.Linear):
        return module.out_features, 1, 1
    with torch.no_grad():
        _, channels, height, width = module(torch.zeros(1, *shape).to(module.weight)).shape
    return channels, height, width


def _invertible(activation: nn.Module, layer: Layer) -> bool:
    flat = isinstance(activation, nn.LeakyReLU) and activation.negative_slope <= 0
    return layer.activation is None and not flat


def _classifies(last: Layer, trained: set[str]) -> bool:
    return isinstance(last.module, nn.Linear) and last.activation is None and f"{last.name}.bias" in trained
