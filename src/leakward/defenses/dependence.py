"""How much one set of vectors tells of another, by kernels: the two measures of Peng et al. 2022 (arXiv:2206.05483).

With m pairs of rows, ``H = I - 11'/m`` and kernels K:

    HSIC = tr(R_X R_Y),   R = HKH (HKH + e m I)^-1,   e = 1e-5     (normalised, after Fukumizu et al. 2007)
    COCO = sqrt(|HK_XH HK_YH|_F) / m                               (Gretton et al. 2005)

Both are 0 where all rows of either side are alike, and where there is a single pair.
"""

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 1e-5
TINY = 1e-30


def gaussian_kernel(rows: Float[Tensor, "m n"], sigma: float) -> Float[Tensor, "m m"]:
    """Return ``exp(-|a - b|^2 / (2 sigma^2 n))`` for every pair of rows, whose n columns it averages over."""
    rows = rows - rows.mean(0)  # distances stay, and large norms no longer cancel
    square = rows.square().sum(1)
    distance = square[:, None] + square[None, :] - 2 * rows @ rows.mT
    return torch.exp(-distance.clamp(min=0) / (2 * sigma**2 * rows.shape[1]))  # below 0 by rounding alone


def linear_kernel(rows: Float[Tensor, "m n"]) -> Float[Tensor, "m m"]:
    """Return the inner product of every pair of rows."""
    return rows @ rows.mT


def hsic(left: Float[Tensor, "m m"], right: Float[Tensor, "m m"]) -> Float[Tensor, ""]:
    """Return the normalised Hilbert-Schmidt independence criterion of two kernels, in [0, m - 1]."""
    return (_regularised(left) * _regularised(right).mT).sum()


def coco(left: Float[Tensor, "m m"], right: Float[Tensor, "m m"]) -> Float[Tensor, ""]:
    """Return the constrained covariance of two kernels, at least 0; its derivative is 0 where it is 0."""
    square = (centred(left) @ centred(right)).square().sum()
    dependent = square > TINY
    return torch.where(dependent, torch.where(dependent, square, 1.0) ** 0.25, 0.0) / len(left)


def centred(kernel: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """Return ``HKH``."""
    half = kernel - kernel.mean(0)
    return half - half.mean(1, keepdim=True)


def _regularised(kernel: Tensor) -> Tensor:
    inner = centred(kernel)
    ridge = RIDGE * len(inner) * torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
    return torch.linalg.solve(inner + ridge, inner)
