"""The largest entries now, the rest later: Stich et al. 2018, "Sparsified SGD with memory" (arXiv:1809.07599).

    a = g + m,   g'_j = a_j if |a_j| is among the k largest, else 0,   m <- a - g',   k = max(1, floor(q n))

| symbol | field |
|---|---|
| q | ``keep`` |
| g, m | the message and the client's memory, over all n trained entries together; m starts at 0 |

Lin et al. 2018 (arXiv:1712.01887) do so with q down to 0.001. Unlike with ``pruning``, what is left out is not lost: it
comes in a later round, so that training suffers less, and a server that watches for long misses less.

An attacker who knows of it sees which entries were sent, trusts those alone, and replays the undefended client on them.
That is exact in a client's first round, which is the one that an audit attacks. Later the memory of other images is
mixed in, which this attacker does not undo.

What differs from Lin et al.: no momentum correction, no clipping and no warm-up of q; the k largest of the whole
message, where they choose in each tensor.
"""

from dataclasses import dataclass

import torch

from leakward.defenses.vectors import trust_nonzero
from leakward.federated import Defense, Evidence, LocalTraining, NoDefense
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.fields import check
from leakward.tape import Tape
from leakward.types import Tensors


@dataclass(frozen=True)
class TopK(Defense):
    """Send the largest entries of the message and of what was kept back before.

    Attributes:
        keep: Share of all entries that are sent, in (0, 1].
    """

    keep: float = 0.01

    def __post_init__(self) -> None:
        check(self, ("keep", self.keep, "a number in (0, 1]", 0 < self.keep <= 1))

    @property
    def keeps_private(self) -> bool:
        """Return that it keeps back what it does not send."""
        return True

    @property
    def carries_over(self) -> bool:
        """Return that what is kept back comes in a later round."""
        return True

    def on_update(self, message: Tensors, private: Tensors, tape: Tape) -> tuple[Tensors, Tensors]:
        """Send the largest entries, and keep the others back; before the first round nothing is."""
        del tape
        total = {name: value + private[name] for name, value in message.items()} if private else message
        sizes = torch.cat([value.detach().abs().flatten() for value in total.values()])
        rank = sizes.argsort(descending=True, stable=True).argsort()
        chosen = (rank < max(1, int(self.keep * len(sizes)))).split([value.numel() for value in total.values()])
        sent = {n: value * part.view_as(value) for (n, value), part in zip(total.items(), chosen, strict=True)}
        return sent, {name: (value - sent[name]).detach() for name, value in total.items()}

    def replay(self) -> Defense:
        """Replay the undefended client; ``evidence`` says which entries to compare."""
        return NoDefense()

    def evidence(self, message: Tensors, images: int, recipe: LocalTraining = SINGLE_GRADIENT) -> Evidence:
        """Trust the entries that were sent."""
        del images, recipe
        return trust_nonzero(message)
