"""Which rows of a linear layer hold one image, and of which class, decided by replaying each image alone.

With logits z, probabilities p and the unit's activation a_i, an image of class y adds to ``dL/db_i``

    s_y = sum_k (p_k - [y = k]) dz_k / da_i,

so the row of one image agrees with s_y for one class y. A mixture hardly agrees with any.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad, vjp, vmap

from leakward.threat import Observation

AT_ONCE = 64
"""Candidates replayed together."""
VOTERS = 128
"""Rows that vote on the scale of a message."""
AGREEMENT = 1e-4
"""Relative difference up to which a row of one image agrees with its replay."""


def explain(
    observation: Observation,
    images: Float[Tensor, "m c h w"],
    layer: str,
    units: Int[Tensor, " m"],
    leaked: Float[Tensor, " m"],
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
    """Return the class that explains each unit's bias gradient best, and how far it is off, in [0, 1].

    Args:
        observation: The images were read off.
        images: One per unit, in [0, 1].
        layer: A linear layer with bias.
        units: Of it.
        leaked: What the batch, summed over its images, left in the bias of each unit.
    """
    state, name = observation.state, f"{layer}.bias"
    task = observation.task
    if observation.threat.knowledge != "unaware":
        task = observation.defense.replay().on_task(task)

    def replay(image: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        def logits(bias: Tensor) -> Tensor:
            return task.forward(state | {name: bias}, image[None])[0][0]

        values, pull = vjp(logits, state[name])[:2]
        slope = grad(lambda pulled: pull(pulled)[0][unit])(
            torch.zeros_like(values)
        )  # dz / da_i for all classes at once
        return values, slope

    logits, slopes = vmap(replay, chunk_size=AT_ONCE)(images.to(state[name]), units)
    expected = (logits.softmax(1) * slopes).sum(1, keepdim=True) - slopes
    mismatch, labels = (1 - _common_factor(leaked, expected) * expected / leaked[:, None]).abs().min(1)
    return labels, mismatch.clamp(max=1)


def _common_factor(leaked: Float[Tensor, " m"], expected: Float[Tensor, "m k"]) -> Tensor:
    """Return what a message was scaled by, as by clipping: the factor on which rows agree; 1 if that is in doubt."""
    ratios = (expected / leaked[:, None])[:VOTERS]
    factors = torch.cat([ratios.new_ones(1), 1 / ratios[ratios > 0]])
    agree = torch.stack([((1 - factor * ratios).abs().amin(1) < AGREEMENT).sum() for factor in factors])
    best = agree.argmax()
    return factors[best] if agree[best] >= max(3, 2 * int(agree[0])) else factors[0]
