"""What defences that mix images have in common: labels as probabilities, and partners within a step."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.errors import DefenseError
from leakward.models.task import Labels
from leakward.tape import Tape


def require_partners(name: str, images: Tensor, least: int) -> None:
    """Raise ``DefenseError`` if a step has fewer than ``least`` images to mix."""
    if len(images) < least:
        raise DefenseError(
            f"{name}: expected at least {least} images in every step, got {len(images)}; "
            "raise batch_images or minibatch, or let minibatch divide batch_images"
        )


def probabilities(labels: Labels, classes: int, like: Tensor) -> Float[Tensor, "b k"]:
    """Return labels as probabilities with the dtype and device of ``like``; those that are so already stay."""
    if labels.is_floating_point():
        return labels
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(like)


def permutation(count: int, tape: Tape, like: Tensor) -> Int[Tensor, " b"]:
    """Draw an order of ``count`` images."""
    return tape.uniform((count,), like).argsort()
