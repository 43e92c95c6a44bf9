"""Probabilistic principal components: Tipping and Bishop 1999 (J. R. Statist. Soc. B 61:611).

    x = m + W z + s e,    z ~ N(0, I_q),  e ~ N(0, I_d),    W = V_q (L_q - s^2 I)^(1/2),  s^2 = mean of l_q+1 .. l_d

with ``l_j`` and ``V`` the eigenvalues and eigenvectors of the covariance: the Gaussian under which the images are most
likely, among those with q directions of their own and one noise for all others (eqs. 4, 7 and 8).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.types import Tensors

QUANTISED = 1 / (255 * 12**0.5)
"""Standard deviation of the rounding of images to 8 bits: less noise than that is in no image."""
FEWEST = 6
"""Images without which none are held out."""


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """A Gaussian of images. Candidates are ``components`` (b q) and ``remainder`` (b c h w), standard normal.

    Attributes:
        mean: m.
        directions: The columns of W as images.
        noise: s.
    """

    mean: Float[Tensor, "c h w"]
    directions: Float[Tensor, "q c h w"]
    noise: Float[Tensor, ""]

    @staticmethod
    def fit(images: Float[Tensor, "n c h w"], components: int) -> "PrincipalComponents":
        """Return the estimate from at least two images, with at most half as many components as images."""
        mean, kept = images.mean(0), min(components, len(images) // 2)
        centred = (images - mean).flatten(1)
        _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
        variances = singular.square() / len(images)
        noise = variances[kept:].sum() / max(1, centred.shape[1] - kept)
        lengths = (variances[:kept] - noise).clamp_min(0).sqrt()
        return PrincipalComponents(
            mean, (directions[:kept] * lengths[:, None]).view(-1, *mean.shape), noise.sqrt().clamp_min(QUANTISED)
        )

    @staticmethod
    def calibrated(images: Float[Tensor, "n c h w"], components: int) -> "PrincipalComponents":
        """Return ``fit``, widened until it expects images it was not fitted to to be as unlikely as they are.

        Every third image is held out to find by how much; images are less alike than any Gaussian of the others.
        """
        fitted = PrincipalComponents.fit(images, components)
        held = torch.arange(len(images), device=images.device) % 3 == 0
        if len(images) < FEWEST:
            return fitted
        spread = PrincipalComponents.fit(images[~held], components).unlikeliness(images[held]) / images[held].numel()
        wider = spread.clamp_min(1).sqrt()
        return PrincipalComponents(fitted.mean, fitted.directions * wider, fitted.noise * wider)

    def decode(self, candidate: Tensors) -> Float[Tensor, "b c h w"]:
        """Return the images behind standard normal numbers."""
        low = torch.tensordot(candidate["components"], self.directions, dims=1)
        return self.mean + low + self.noise * candidate["remainder"]

    def encode(self, images: Float[Tensor, "b c h w"]) -> Tensors:
        """Return the most likely numbers behind images: ``z = (W' W + s^2 I)^-1 W' (x - m)``, and what is left as e."""
        centred, flat = images - self.mean, self.directions.flatten(1)
        components = centred.flatten(1) @ flat.mT / (flat.square().sum(1) + self.noise.square())
        low = torch.tensordot(components, self.directions, dims=1)
        return {"components": components, "remainder": (centred - low) / self.noise}

    def surprise(self, candidate: Tensors) -> Float[Tensor, ""]:
        """Return ``|z|^2 + |e|^2``, twice the negative logarithm of the prior up to a constant."""
        return candidate["components"].square().sum() + candidate["remainder"].square().sum()

    def unlikeliness(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Return ``sum (x - m)' (W W' + s^2 I)^-1 (x - m)``: of typical images about their number of pixel values."""
        centred, flat = (images - self.mean).flatten(1), self.directions.flatten(1)
        lengths = flat.norm(dim=1)
        along = centred @ (flat / lengths.clamp_min(1e-12)[:, None]).mT
        rest = centred.square().sum() - along.square().sum()
        return (along.square() / (lengths.square() + self.noise.square())).sum() + rest / self.noise.square()

    def sample(self, trials: int, images: int, rng: torch.Generator) -> Tensors:
        """Return candidates of ``trials`` sets of ``images`` each, drawn from the prior."""
        drawn = torch.randn(trials, images, len(self.directions), generator=rng)
        return {"components": drawn, "remainder": torch.randn(trials, images, *self.mean.shape, generator=rng)}
