"""What defences that mix images of a step have in common: partners, orders, and labels as probabilities."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.errors import DefenseError
from leakward.federated import Defense
from leakward.models.task import Labels
from leakward.tape import Tape


class ImageMixing(Defense):
    """A defence that mixes the images of a step with each other."""

    @property
    def step_images(self) -> int:
        """Return that there is nothing to mix a single image with."""
        return 2

    @property
    def mixes_images(self) -> bool:
        """Return that every image enters the gradient of another."""
        return True

    def require_partners(self, images: Tensor) -> None:
        """Raise ``DefenseError`` if a step has too few images to mix."""
        if len(images) < self.step_images:
            raise DefenseError(
                f"{type(self).__name__}: expected at least {self.step_images} images in every step, got {len(images)}; "
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
