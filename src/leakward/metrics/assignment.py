"""Which reconstruction belongs to which image of a batch.

An update does not order its images, so neither does an attack. The assignment uses the truth and so favours the
attacker: an audit must not miss a leak because the images came back in another order.
"""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from leakward.metrics.checks import checked_pair


def assign(images: Float[Tensor, "b c h w"], reconstructions: Float[Tensor, "b c h w"]) -> Int[Tensor, " b"]:
    """Return the permutation that makes ``reconstructions[permutation]`` fit ``images`` with least total MSE.

    Args:
        images: The private images, in [0, 1].
        reconstructions: As many, in [0, 1], in any order.

    Raises:
        LeakwardError: If shapes differ or a pixel is not a number in [0, 1].
    """
    truth, guess = checked_pair(images, reconstructions)
    cost = torch.cdist(truth.flatten(1), guess.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").square()
    _, permutation = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(permutation, device=images.device)
