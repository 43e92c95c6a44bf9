"""Pearson correlation between images and a decoder's guesses: Jiang et al. 2025 (arXiv:2503.16542), eq. (1)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Form = Literal["signed", "absolute", "squared"]
Per = Literal["image", "batch"]

FLAT = 1e-4
"""Norm below which a centred image counts as flat: rho and its derivative then fade instead of blowing up."""


def pearson(x: Float[Tensor, "b c h w"], guess: Float[Tensor, "b c h w"], per: Per) -> Float[Tensor, " _"]:
    """Return rho over all elements of each image (b), or of the whole batch (1)."""
    rows = (len(x) if per == "image" else 1, -1)
    left, right = x.reshape(rows), guess.reshape(rows)
    return F.cosine_similarity(left - left.mean(1, keepdim=True), right - right.mean(1, keepdim=True), dim=1, eps=FLAT)


def penalty(rho: Float[Tensor, " _"], form: Form) -> Float[Tensor, ""]:
    """Return the mean of rho, |rho| or rho^2."""
    return {"signed": rho, "absolute": rho.abs(), "squared": rho.square()}[form].mean()
