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

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
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
        """Return the names of the trained tensors, in the model's order; frozen ones are not among them."""
        return tuple(name for name, parameter in self.model.named_parameters() if parameter.requires_grad)

    @property
    def has_batchnorm(self) -> bool:
        """Return whether some layer keeps running statistics."""
        return any(name.endswith("running_mean") for name, _ in self.model.named_buffers())

    @property
    def classifier(self) -> tuple[str, str]:
        """Return the names of weight (k d) and bias (k) of the last linear layer.

        Raises:
            ModelError: If the network does not end in a trained linear layer with bias and k outputs.
        """
        layers = [(name, m) for name, m in self.model.named_modules() if isinstance(m, nn.Linear)]
        name, layer = layers[-1] if layers else ("", None)
        names = f"{name}.weight", f"{name}.bias"
        if layer is None or layer.out_features != self.spec.num_classes or not {*names} <= {*self.parameter_names}:
            raise ModelError(
                f"model {self.spec.model!r}: expected a trained last linear layer with bias and "
                f"{self.spec.num_classes} outputs; label recovery needs it"
            )
        return names

    def split(self, state: Tensors) -> tuple[Tensors, Tensors]:
        """Return the trained parameters of ``state``, and the rest: buffers, and parameters the model keeps frozen."""
        trained = set(self.parameter_names)
        return (
            {name: state[name] for name in self.parameter_names},
            {name: value for name, value in state.items() if name not in trained},
        )

    def normalize(self, images: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Map images in [0, 1] to the network's input range."""
        shift, scale = self._affine(images)
        return (images - shift) / scale

    def denormalize(self, inputs: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Undo ``normalize``."""
        shift, scale = self._affine(inputs)
        return inputs * scale + shift

    def _affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the constants per channel, ready to broadcast."""
        mean, std = self.spec.mean or (0.0,), self.spec.std or (1.0,)
        shift, scale = (torch.tensor(v, dtype=like.dtype, device=like.device)[:, None, None] for v in (mean, std))
        return shift, scale

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
            mode: Whether BatchNorm acts as in training.
            noise: Standard normal draws for ``latent``; without them its mean is used.

        Raises:
            ModelError: If dropout would draw from PyTorch's global generator, which no replay could repeat.
        """
        tensors = self._start(state, mode)
        latent = self.latent
        keywords = {} if latent is None else {"latent": lambda z: latent.apply(z, noise)}
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
        tensors = self._start(state, mode)
        encoder = {n.removeprefix("encoder."): v for n, v in tensors.items() if n.startswith("encoder.")}
        return functional_call(self.model.encoder, encoder, (self.normalize(images),), strict=True)

    def loss(self, logits: Float[Tensor, "b k"], labels: Labels) -> Float[Tensor, ""]:
        """Return the mean cross-entropy; ``labels`` may be indices or probabilities."""
        return F.cross_entropy(logits, labels)

    def _start(self, state: Tensors, mode: Mode) -> Tensors:
        """Switch the model to ``mode`` and return what it may read, and where it may write, in one pass."""
        self.model.train(mode == "train")
        if mode == "eval":
            return dict(state)
        self._refuse_dropout()
        trained = set(self.parameter_names)  # a layer may write its buffers in place: let it write copies
        return {name: value if name in trained else value.clone() for name, value in state.items()}

    def _refuse_dropout(self) -> None:
        for name, layer in self.model.named_modules():
            if isinstance(layer, DROPOUT) and layer.p > 0:
                raise ModelError(
                    f"model {self.spec.model!r}: expected no dropout in train mode, got layer {name!r} with "
                    f"p={layer.p}; set its probability to 0, or use mode = 'eval'"
                )
