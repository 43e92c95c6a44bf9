"""Noise at the server: McMahan et al. 2018, "Learning differentially private recurrent language models" (1710.06963).

    client:  g_i' = g_i min(1, C / ||g_i||_2)
    server:  g = (1 / N) (sum_i g_i' + N(0, s^2 C^2 I))

| symbol | field |
|---|---|
| C | ``max_norm`` |
| s | ``noise_multiplier`` |
| N | ``clients`` |

It protects against those who see the model that comes out, and not against the server, which sees g_i' before any
noise. The attacker of an audit is the server, and replays the clipping. Where accuracy is measured, the server's noise
is added: one site's messages stand for the mean of N clients.

No epsilon is stated, because against the server there is none. Against those who see the models alone, a round is one
Gaussian mechanism of multiplier s for a client whose message counts or is zero, in a mean of N equal weights. Other
weights, and strategies that do more than take a mean, break that.

What differs from the paper: all N clients take part in every round with equal weight, where they sample them.
"""

from dataclasses import dataclass

from leakward.defenses.vectors import clip
from leakward.federated import Defense
from leakward.fields import check, not_negative, positive, whole
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class CentralDP(Defense):
    """Shorten the message to a bound, and trust the server to add noise to the sum.

    Attributes:
        max_norm: Largest l2 norm of a client's message.
        noise_multiplier: Standard deviation of the noise on the sum as a multiple of ``max_norm``; 0 adds none.
        clients: How many messages the server adds up, at least 1.
    """

    max_norm: float = 1.0
    noise_multiplier: float = 1.0
    clients: int = 10

    def __post_init__(self) -> None:
        check(
            self,
            positive("max_norm", self.max_norm),
            not_negative("noise_multiplier", self.noise_multiplier),
            whole("clients", self.clients),
        )

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Clip the message; the client adds no noise."""
        del tape
        return clip(message, self.max_norm), private

    def on_aggregate(self, mean: Tensors, tape: Tape) -> Tensors:
        """Add the server's noise to the mean of all clients."""
        std = self.noise_multiplier * self.max_norm / self.clients
        return {name: value + std * tape.normal(tuple(value.shape), value) for name, value in mean.items()}
