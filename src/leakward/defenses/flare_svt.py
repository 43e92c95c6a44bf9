"""NVIDIA FLARE's ``SVTPrivacy`` (2.9): the sparse vector technique, after Li et al. 2019 (arXiv:1910.00962).

Of n entries a_j of what the client sends, c = ceil(f n) are chosen, each for reaching a threshold in noise:

    t = tau + Lap(g / e_1),    chosen if |clip(a_j, -g, g)| + Lap(2 c g / e_2) >= t,    e_1 : e_2 = 1 : (2c)^(2/3)

over and over until c or more have been chosen, of which c are drawn at random, with ``replace`` also one twice. They
are sent as

    a_j' = clip(a_j, -g, g) + Lap(2 g / v),    all others as 0.

| symbol | field |
|---|---|
| f | ``fraction`` |
| e_1 + e_2 | ``epsilon`` |
| g | ``gamma`` |
| v | ``noise_var`` |
| a | by ``transfer`` the weights, or their change |

With ``count_steps`` all of it acts on a_j / T, T being the recipe's local steps, and what is sent is multiplied by T.

The noise of the choice has a scale of 2 c g / e_2 where no entry is larger than g: with stock settings on 100,000
weights that is 200,000 times g, and the choice is as good as blind. The values have noise of 20 times g. FLARE's ledger
counts ``epsilon`` + c v per round and adds rounds up. No epsilon is stated here: the proof of the technique counts c
entries that pass, and the filter lets more pass before it draws c of them.

What is sent is computed by FLARE itself, which draws from NumPy's global generator, set from the client's tape.

An attacker who knows of it trusts the entries that were sent, all alike as their noise is, and replays the clipping.
Given whole weights, only a weight below g shows its change, and is trusted.
"""

from dataclasses import dataclass

from leakward.defenses.engines import flare
from leakward.defenses.engines.entry_filter import EntryFilter
from leakward.defenses.engines.operator import draw_seed, require
from leakward.defenses.engines.replies import through, visible
from leakward.federated import Reply
from leakward.fields import check, finite, positive
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class FlareSVT(EntryFilter):
    """FLARE's own filter that sends a noisy choice of entries, with noise.

    Attributes:
        fraction: Of all entries that are sent, in (0, 1].
        epsilon: Spent on the choice.
        noise_var: Spent on the value of each entry that is sent.
        gamma: Largest size of an entry before the noise, per step.
        tau: Threshold of the choice.
        replace: Whether an entry can be drawn twice, so that fewer than ``fraction`` are sent.
        transfer: ``full`` gives the filter whole weights, as FLARE's recipes do; ``diff`` their change.
        count_steps: Whether the client tells FLARE how many local steps it took (``NUM_STEPS_CURRENT_ROUND``).

    Raises:
        DefenseError: If NVIDIA FLARE is not installed.
    """

    fraction: float = 0.1
    epsilon: float = 0.1
    noise_var: float = 0.1
    gamma: float = 1e-5
    tau: float = 1e-6
    replace: bool = True
    transfer: flare.Transfer = "full"
    count_steps: bool = False

    def __post_init__(self) -> None:
        check(
            self,
            ("fraction", self.fraction, "a number in (0, 1]", 0 < self.fraction <= 1),
            positive("epsilon", self.epsilon),
            positive("noise_var", self.noise_var),
            positive("gamma", self.gamma),
            finite("tau", self.tau),
            flare.transfer_rule(self.transfer),
        )
        require("nvflare", "nvflare", "flare-svt")

    def on_reply(self, reply: Reply, private: Tensors, tape: Tape) -> tuple[Reply, Tensors]:
        """Send what FLARE's filter leaves."""
        slope, private = self.replay().on_reply(reply, private, tape)
        names = ("fraction", "epsilon", "noise_var", "gamma", "tau", "replace", "transfer")
        settings = {name: getattr(self, name) for name in names} | {"steps": self.told_steps(reply)}
        seed = draw_seed(tape, next(iter(reply.message.values())))
        return through(flare.svt, settings, reply, slope, change=self.transfer == "diff", seed=seed), private

    def shown(self, seen: Reply, bound: float) -> Tensors:
        """Return which weights were sent and not clipped."""
        return {name: (seen.before[name].abs() < bound) & (rest > 0) for name, rest in visible(seen).items()}
