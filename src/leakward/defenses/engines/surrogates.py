"""What an attacker replays of an engine's filter: the same arithmetic as pure functions, and without noise."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.defenses.engines.flare import Transfer
from leakward.defenses.vectors import squared_norm, straight_through
from leakward.federated import Defense, Reply
from leakward.tape import Tape
from leakward.types import Tensors

SOFTNESS = 0.1
"""As in ``sign``: where nearly all entries are beyond a bound, their derivative is that of a sign this soft."""


@dataclass(frozen=True)
class WholeClipping(Defense):
    """Shorten the change of everything that is sent, buffers and counters included, to a bound.

    Attributes:
        max_norm: Largest l2 norm of the change, above 0.
        counters: Whether whole numbers, such as BatchNorm's step counters, are part of it.
    """

    max_norm: float = 1.0
    counters: bool = True

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Scale the change of all floating tensors down if the whole is longer than the bound."""
        del tape
        sent = {n: value for n, value in reply.buffers.items() if self.counters or value.is_floating_point()}
        like = next(iter(reply.message.values()))
        change = {name: (value - reply.before[name]).to(like) for name, value in sent.items()}
        square = squared_norm(change | {name: reply.rate * value for name, value in reply.message.items()})
        too_long = square > self.max_norm**2
        factor = torch.where(too_long, self.max_norm * torch.where(too_long, square, 1.0).rsqrt(), 1.0)
        moved = {n: reply.before[n] + factor * change[n] for n, value in sent.items() if value.is_floating_point()}
        message = {name: factor * value for name, value in reply.message.items()}
        return replace(reply, message=message, buffers=reply.buffers | moved), private


@dataclass(frozen=True)
class EntryClipping(Defense):
    """Bring every entry of what is sent into a range; of whole weights the buffers alone, as the weights are known.

    Attributes:
        bound: Largest size of an entry, above 0; per step if ``per_step``.
        per_step: Whether the bound grows with the number of local steps.
        transfer: Whether whole weights are sent, or their change.
    """

    bound: float = 0.01
    per_step: bool = False
    transfer: Transfer = "diff"

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Bring the entries into the range."""
        del tape
        bound = self.bound * (reply.steps if self.per_step else 1)
        floating = {name: value for name, value in reply.buffers.items() if value.is_floating_point()}
        if self.transfer == "full":
            clipped = {name: value.clamp(-bound, bound) for name, value in floating.items()}
            return replace(reply, buffers=reply.buffers | clipped), private
        before = reply.before
        moved = {name: before[name] + (value - before[name]).clamp(-bound, bound) for name, value in floating.items()}
        message = {name: clip_entries(value, bound / reply.rate) for name, value in reply.message.items()}
        return replace(reply, message=message, buffers=reply.buffers | moved), private


def clip_entries(value: Float[Tensor, "*shape"], bound: float) -> Float[Tensor, "*shape"]:
    """Return ``value`` clipped to [-bound, bound], with a derivative that does not end at the bound.

    It is that of ``b v / sqrt(v^2 + max(b, c rms)^2)``: close to 1 far below the bound, and where most entries are
    beyond it that of a soft sign.
    """
    softness = (SOFTNESS**2 * value.detach().square().mean()).clamp_min(bound**2)
    slope = bound * value * (value.square() + softness).rsqrt()
    return straight_through(value.clamp(-bound, bound), slope)
