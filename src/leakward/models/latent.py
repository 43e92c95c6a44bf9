"""Gaussian noise on the representation between encoder and predictor."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from leakward.tape import Tape


@dataclass(frozen=True, eq=False)
class LatentNoise:
    """Element-wise noise ``n_i ~ N(mean_i, std_i^2)`` added to the latent map (Jiang et al. 2025, arXiv:2503.16542).

    Attributes:
        mean: One value per latent element.
        std: One non-negative value per latent element.
    """

    mean: Float[Tensor, "*latent"]
    std: Float[Tensor, "*latent"]

    def draw(self, images: int, tape: Tape, like: Tensor) -> Tensor:
        """Draw standard normal values for a batch, shape (b *latent)."""
        return tape.normal((images, *self.mean.shape), like)

    def apply(self, latent: Tensor, noise: Tensor | None) -> Tensor:
        """Return ``latent + mean + std * noise``; without ``noise``, its expectation."""
        shifted = latent + self.mean.to(latent)
        return shifted if noise is None else shifted + self.std.to(latent) * noise
