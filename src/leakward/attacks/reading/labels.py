"""Labels read off the gradient of the last linear layer.

With logits ``z = W r + b`` and cross-entropy, ``dL/dz_k = mean over the batch of (p_k - [y = k])``: it is negative only
for classes that occur, and ``dL/dW_k = sum dL/dz_k r``. A message with the sign of a gradient is all that is needed.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def single_label(weight: Float[Tensor, "k d"]) -> Int[Tensor, " 1"]:
    """Return the label of one image: the class whose row sum is smallest.

    Exact where the features are non-negative (Zhao, Mopuri and Bilen 2020, arXiv:2001.02610, eq. 3).
    """
    return weight.sum(1).argmin()[None]


def distinct_labels(weight: Float[Tensor, "k d"], images: int) -> Int[Tensor, " b"]:
    """Return the labels of a batch in which no class occurs twice, sorted.

    The classes with the smallest row minimum (Yin et al. 2021, arXiv:2104.07586, eq. 6). At most k labels can be told
    apart.
    """
    return weight.amin(1).argsort(stable=True)[:images].sort().values


def counted_labels(bias: Float[Tensor, " k"], images: int) -> Int[Tensor, " b"]:
    """Return the labels of a batch with repeated classes, from the gradient of the class biases, sorted.

    Every class with a negative entry occurs; one image of a class lowers its entry by about the sum of the negative
    entries over the number of images; the class that stays lowest is given the next label until all images have one.
    In the manner of Wainakh et al. 2022 (arXiv:2105.09369), with the bias in the place of the row sums.
    """
    remaining = bias.clone()
    impact = bias[bias < 0].sum() / images
    found = (bias < 0).nonzero().squeeze(1)[bias[bias < 0].argsort(stable=True)][:images].tolist()
    remaining[found] -= impact
    while len(found) < images:
        lowest = int(remaining.argmin())
        found.append(lowest)
        remaining[lowest] -= impact
    return torch.tensor(sorted(found), dtype=torch.long, device=bias.device)
