"""Nearest points of an l1 ball."""

import torch
from jaxtyping import Float
from torch import Tensor


def project(values: Float[Tensor, "n d"], radius: float) -> Float[Tensor, "n d"]:
    """Return the nearest point to each row whose absolute values sum to at most ``radius``.

    Every entry moves towards 0 by one threshold per row, found among the sorted absolute values (Duchi et al. 2008,
    Efficient projections onto the l1-ball, Figure 1).

    Example:
        >>> project(torch.tensor([[3.0, -1.0], [0.5, 0.2]]), radius=2.0)
        tensor([[2.0000, -0.0000],
                [0.5000, 0.2000]])
    """
    sizes = values.abs()
    ordered = sizes.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - radius
    counts = torch.arange(1, values.shape[1] + 1, device=values.device)
    active = (ordered * counts > excess).sum(1, keepdim=True).clamp_min(1)  # none where a row is not finite
    threshold = (excess.gather(1, active - 1) / active).clamp_min(0)
    return values.sign() * (sizes - threshold).clamp_min(0)
