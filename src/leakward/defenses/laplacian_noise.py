"""Laplacian noise on the message: Zhu, Liu and Han 2019 (arXiv:1906.08935), section 5.1.

    g' = g + n,   p(n) = exp(-|n| / s) / (2 s),   drawn as   n = -s sign(u - 1/2) log(1 - 2 |u - 1/2|),  u ~ U(0, 1)

| symbol | field |
|---|---|
| s | ``scale`` |

The variance is 2 s^2. It carries no differential-privacy guarantee, because the message is not bounded. The attacker
who knows of it does the same as against ``gaussian-noise``, with this variance.

What differs from published code: the inverse of the distribution function instead of a library's sampler, so that a
recorded draw can be replayed. Published scales go from 0.0025 to 0.1.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from leakward.federated import Defense, NoDefense
from leakward.fields import check, not_negative
from leakward.tape import Tape
from leakward.types import Tensors

RESOLUTION = 2.0**-24
"""Uniform numbers of single precision are multiples of it; 0, whose logarithm is infinite, counts as half of one."""


@dataclass(frozen=True)
class LaplacianNoise(Defense):
    """Add independent noise to every entry of the message.

    Attributes:
        scale: Mean absolute value of the noise, in units of the message; 0 adds none.
    """

    scale: float = 0.01

    def __post_init__(self) -> None:
        check(self, not_negative("scale", self.scale))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Add the noise."""
        return {
            name: value + self.scale * standard_laplace(tape.uniform(tuple(value.shape), value))
            for name, value in message.items()
        }, private

    def replay(self) -> Defense:
        """Replay the undefended client, which is what the noisy one sends on average."""
        return NoDefense()


def standard_laplace(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Turn numbers uniform on [0, 1) into Laplacian ones of mean 0 and scale 1; always finite."""
    centred = uniform.clamp(min=RESOLUTION / 2, max=1 - RESOLUTION) - 0.5
    return -centred.sign() * (1 - 2 * centred.abs()).log()
