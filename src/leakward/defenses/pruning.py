"""Gradient pruning: Zhu, Liu and Han 2019 (arXiv:1906.08935), section 5.2, after Lin et al. 2018 (arXiv:1712.01887).

    g'_j = g_j if |g_j| >= q_p(|g|), else 0,   for each tensor g on its own

| symbol | field |
|---|---|
| p | ``ratio`` |

``q_p`` is the p-quantile. Of n entries the ceil(p (n - 1)) smallest become zero, so that every tensor keeps at least
one; entries equal to the threshold stay. An attacker who knows of it sees which entries survived, trusts those alone,
and replays the undefended client on them.

What differs from published code: GGL and GIFD interpolate the quantile, which keeps the same entries. What clients do
not send is lost here; Lin et al. keep it for the next round, which changes utility, not what one message tells.
"""

from dataclasses import dataclass

from leakward.defenses.vectors import largest, trust_nonzero
from leakward.federated import Defense, Evidence, LocalTraining, NoDefense
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class Pruning(Defense):
    """Send only the largest entries of every tensor.

    Attributes:
        ratio: Share of the entries of each tensor that are set to zero, in [0, 1).
    """

    ratio: float = 0.8

    def __post_init__(self) -> None:
        check(self, ("ratio", self.ratio, "a number in [0, 1)", 0 <= self.ratio < 1))

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Set the smallest entries to zero."""
        del tape
        return {n: value * largest(value.detach().abs(), self.ratio) for n, value in message.items()}, private

    def replay(self) -> Defense:
        """Replay the undefended client; ``evidence`` says which entries to compare."""
        return NoDefense()

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust the entries that were sent."""
        del images, recipe
        return trust_nonzero(message)
