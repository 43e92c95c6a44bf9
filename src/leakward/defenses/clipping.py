"""Clipping of the message: the bound of McMahan et al. 2018 (arXiv:1710.06963), without their noise.

    g' = g min(1, S / ||g||_2)

| symbol | field |
|---|---|
| S | ``max_norm`` |

The norm runs over all trained tensors together; buffers such as running statistics are not part of it. By itself it
hides one number, the length of the message. The attacker who knows of it replays it.

What differs from published code: GGL and GIFD, whence the bound 4, do the same with a single gradient.
"""

from dataclasses import dataclass

from leakward.defenses import vectors
from leakward.federated import Defense
from leakward.fields import check, positive
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class Clipping(Defense):
    """Shorten the message to a bound.

    Attributes:
        max_norm: Largest l2 norm a message may have.
    """

    max_norm: float = 4.0

    def __post_init__(self) -> None:
        check(self, positive("max_norm", self.max_norm))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Scale the message down if it is longer than the bound."""
        del tape
        return vectors.clip(message, self.max_norm), private
