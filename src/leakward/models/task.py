"""The ``Task``: what all sites of a federation agree on before the first round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from leakward.errors import ModelError
from leakward.models.latent import LatentNoise
from leakward.types import Tensors

Mode = Literal["eval", "train"]
Labels = Int[Tensor, " b"] | Float[Tensor, "b k"]
"""Class indices, or class probabilities where an attack optimises the label as well."""


class SplitModel(nn.Module):
    """A network in two named halves, so that a defence can act on the representation between them.

    ``logits = predictor(encoder(x))``; ``latent`` is applied between the two where given.
    """

    def __init__(self, encoder: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor

    def forward(self, x: Float[Tensor, "b c h w"], latent: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the logits (b k)."""
        z = self.encoder(x)
        return self.predictor(z if latent is None else latent(z))


@dataclass(frozen=True)
class TaskSpec:
    """Everything needed to build a task again, in plain values; it travels inside a capture.

    Attributes:
        model: Registry name, or ``package.module:factory`` of a user's own network.
        input_shape: (c, h, w).
        num_classes: k, at least 2.
        options: Keyword arguments of the factory, such as ``width``.
        mean: Per-channel constants subtracted from images in [0, 1]; empty means 0.
        std: Per-channel constants they are divided by; empty means 1.
    """

    model: str
    input_shape: tuple[int, int, int]
    num_classes: int
    options: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Task:
    """Architecture, loss and normalisation. Holds no weights: every method takes the ``state``.

    Attributes:
        spec: Plain values it was built from.
        model: Structure only; its own tensors are never read.
        latent: Noise between encoder and predictor, set by a defence that acts there.
    """

    spec: TaskSpec
    model: nn.Module
    latent: LatentNoise | None = None

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the trained tensors, in the model's order."""
        return tuple(name for name, _ in self.model.named_parameters())

    @property
    def has_batchnorm(self) -> bool:
        """Return whether some layer keeps running statistics."""
        return any(name.endswith("running_mean") for name, _ in self.model.named_buffers())

    @property
    def classifier(self) -> tuple[str, str]:
        """Return the names of weight (k d) and bias (k) of the last linear layer.

        Raises:
            ModelError: If the network does not end in a linear layer with bias and k outputs.
        """
        layers = [(name, m) for name, m in self.model.named_modules() if isinstance(m, nn.Linear)]
        if not layers or layers[-1][1].out_features != self.spec.num_classes or layers[-1][1].bias is None:
            raise ModelError(
                f"model {self.spec.model!r}: expected a last linear layer with bias and {self.spec.num_classes} outputs; "
                "label recovery needs it"
            )
        name = layers[-1][0]
        return f"{name}.weight", f"{name}.bias"

    def split(self, state: Tensors) -> tuple[Tensors, Tensors]:
        """Return parameters and buffers of ``state``."""
        trained = set(self.parameter_names)
        return (
            {name: state[name] for name in self.parameter_names},
            {name: value for name, value in state.items() if name not in trained},
        )

    def normalize(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Map images in [0, 1] to the network's input range."""
        if not self.spec.mean and not self.spec.std:
            return images
        mean, std = (torch.tensor(v, dtype=images.dtype, device=images.device) for v in (self.spec.mean, self.spec.std))
        return (images - mean[:, None, None]) / std[:, None, None]

    def forward(
        self,
        state: Tensors,
        images: Float[Tensor, "b c h w"],
        *,
        mode: Mode = "eval",
        noise: Tensor | None = None,
    ) -> tuple[Float[Tensor, "b k"], Tensors]:
        """Return the logits and the buffers after the pass; ``state`` is left as it was.

        Args:
            state: Parameters and buffers by name.
            images: In [0, 1].
            mode: Whether BatchNorm and dropout act as in training.
            noise: Standard normal draws for ``latent``; without them its mean is used.
        """
        tensors = dict(state)
        self.model.train(mode == "train")
        keywords = {} if self.latent is None else {"latent": lambda z: self.latent.apply(z, noise)}
        logits = functional_call(self.model, tensors, (self.normalize(images),), keywords, strict=True)
        return logits, self.split(tensors)[1]

    def encode(self, state: Tensors, images: Float[Tensor, "b c h w"], *, mode: Mode = "eval") -> Tensor:
        """Return the latent map of a ``SplitModel`` before any noise.

        Raises:
            ModelError: If the network has no encoder and predictor.
        """
        if not isinstance(self.model, SplitModel):
            raise ModelError(
                f"model {self.spec.model!r}: expected a network with an encoder and a predictor; "
                "use convnet or lenet, or return leakward.models.SplitModel from your factory"
            )
        encoder = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
        self.model.train(mode == "train")
        return functional_call(self.model.encoder, encoder, (self.normalize(images),), strict=True)

    def loss(self, logits: Float[Tensor, "b k"], labels: Labels) -> Float[Tensor, ""]:
        """Return the mean cross-entropy; ``labels`` may be indices or probabilities."""
        return F.cross_entropy(logits, labels)
