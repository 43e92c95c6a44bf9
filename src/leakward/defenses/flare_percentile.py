"""NVIDIA FLARE's ``PercentilePrivacy`` (2.9), after Shokri and Shmatikov 2015 (doi:10.1145/2810103.2813687).

Of all entries a_j of what the client sends, with T the number of steps that the client says it took,

    a_j' = 0 if |a_j / T| < q, else T clip(a_j / T, -g, g),      q = the p-th percentile of all |a_j / T|.

| symbol | field |
|---|---|
| p | ``percentile`` |
| g | ``gamma`` |
| T | the recipe's local steps with ``count_steps``, else 1 |
| a | by ``transfer`` the weights, or their change |

FLARE's recipes send whole weights unless told otherwise, and the filter takes what it is given: with its stock settings
it then clips every weight of the model to 0.01. Batch statistics and step counters are among the entries that q is
taken over; arrays of no dimension are sent as they are. What is sent is computed by FLARE itself. Where FLARE would
send it unfiltered, this raises.

An attacker who knows of it, given changes, trusts the entries that were sent, and replays the clipping. Given whole
weights, it takes off the weights before: entries between q and g show their change as it is, and these alone are
trusted.
"""

from dataclasses import dataclass

from leakward.defenses.engines import flare
from leakward.defenses.engines.entry_filter import EntryFilter
from leakward.defenses.engines.operator import require
from leakward.defenses.engines.replies import through, visible
from leakward.federated import Reply
from leakward.fields import check, positive
from leakward.tape import Tape
from leakward.types import Tensors

CLIPPED = 0.999
"""A weight that comes as near to the bound as this was clipped to it, up to rounding."""


@dataclass(frozen=True)
class FlarePercentile(EntryFilter):
    """FLARE's own filter that sends the larger entries, each clipped.

    Attributes:
        percentile: Of the sizes of all entries, below which they are not sent, in [0, 100].
        gamma: Largest size of an entry that is sent, per step.
        transfer: ``full`` gives the filter whole weights, as FLARE's recipes do; ``diff`` their change.
        count_steps: Whether the client tells FLARE how many local steps it took (``NUM_STEPS_CURRENT_ROUND``).

    Raises:
        DefenseError: If NVIDIA FLARE is not installed.
    """

    percentile: float = 10.0
    gamma: float = 0.01
    transfer: flare.Transfer = "full"
    count_steps: bool = False

    def __post_init__(self) -> None:
        check(
            self,
            ("percentile", self.percentile, "a number in [0, 100]", 0 <= self.percentile <= 100),
            positive("gamma", self.gamma),
            flare.transfer_rule(self.transfer),
        )
        require("nvflare", "nvflare", "flare-percentile")

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Send what FLARE's filter leaves."""
        slope, private = self.replay().on_reply(reply, private, tape)
        settings = {
            "percentile": self.percentile,
            "gamma": self.gamma,
            "transfer": self.transfer,
            "steps": self.told_steps(reply),
        }
        return through(flare.percentile, settings, reply, slope, change=self.transfer == "diff"), private

    def shown(self, seen: Reply, bound: float) -> Tensors:
        """Return which weights were neither cut nor clipped."""
        return {name: (rest > 0) & (rest < CLIPPED * bound) for name, rest in visible(seen).items()}
