"""Gaussian noise on the message: Zhu, Liu and Han 2019 (arXiv:1906.08935), section 5.1.

    g' = g + N(0, s^2 I)

| symbol | field |
|---|---|
| s | ``std`` |

It carries no differential-privacy guarantee: the message is not bounded, so no amount of noise is enough; see
``dp-sgd``.

An attacker who knows of it trusts every tensor by the share of its energy that the noise does not explain
(``vectors.trust_signal``) and replays the undefended client: averaging a replay over noise of mean zero gives just
that.

What differs from published code: 0.01 is what GGL's and GIFD's scripts use; others go from 0.0025 to 0.1.
"""

from dataclasses import dataclass

from leakward.defenses.vectors import trust_signal
from leakward.federated import Defense, Evidence, LocalTraining, NoDefense
from leakward.federated.defense import SINGLE_GRADIENT
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

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust what the known noise does not explain."""
        del images, recipe
        return trust_signal(message, self.std**2)
