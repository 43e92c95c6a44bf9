"""Gaussian noise on the message: Zhu, Liu and Han 2019 (arXiv:1906.08935), section 5.1.

    g' = g + N(0, s^2 I)

| symbol | field |
|---|---|
| s | ``std`` |

It carries no differential-privacy guarantee: the message is not bounded, so no amount of noise is enough; see
``dp-sgd``.

An attacker who knows of it replays the undefended client and matches the message as it is, just as one who does not:
noise of one size everywhere is what matching assumes anyway, and averaging a replay over noise of mean zero changes
nothing. Shrinking the message towards zero, or trusting quiet tensors less, recovered less on BloodMNIST.

What differs from published code: 0.01 is what GGL's and GIFD's scripts use; others go from 0.0025 to 0.1.
"""

from dataclasses import dataclass

from leakward.federated import Defense, NoDefense
from leakward.fields import check, not_negative
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class GaussianNoise(Defense):
    """Add independent noise to every entry of the message.

    Attributes:
        std: Standard deviation of the noise, in units of the message; 0 adds none.
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        check(self, not_negative("std", self.std))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Add the noise."""
        noisy = {name: value + self.std * tape.normal(tuple(value.shape), value) for name, value in message.items()}
        return noisy, private

    def replay(self) -> Defense:
        """Replay the undefended client, which is what the noisy one sends on average."""
        return NoDefense()
