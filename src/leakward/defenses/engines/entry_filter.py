"""What FLARE's filters of single entries have in common as defences: a bound on entries, and who sees what of them."""

from abc import ABC, abstractmethod

from leakward.defenses.engines.flare import Transfer
from leakward.defenses.engines.replies import only
from leakward.defenses.engines.surrogates import EntryClipping
from leakward.defenses.vectors import trust_nonzero
from leakward.federated import Defense, Evidence, Reply
from leakward.types import Tensors


class EntryFilter(Defense, ABC):
    """A filter that clips entries and leaves others out.

    Attributes:
        gamma: Largest size of an entry, per step.
        transfer: Whether it is given whole weights, or their change.
        count_steps: Whether the client tells FLARE how many local steps it took.
    """

    gamma: float
    transfer: Transfer
    count_steps: bool

    @abstractmethod
    def shown(self, seen: Reply, bound: float) -> Tensors:
        """Return which entries of whole weights, none larger than ``bound``, show their change."""

    def told_steps(self, reply: Reply) -> int:
        """Return the local steps that FLARE hears of, 0 for no word of them."""
        return reply.steps if self.count_steps else 0

    def replay(self) -> Defense:
        """Replay the clipping; ``interpret`` says which entries to compare."""
        return EntryClipping(self.gamma, self.count_steps, self.transfer)

    def interpret(self, seen: Reply, clients: int = 1) -> Evidence:
        """Trust the changes that were sent, or of whole weights those that are ``shown``."""
        del clients
        if self.transfer == "diff":
            return trust_nonzero(seen.message)
        return only(seen, self.shown(seen, self.gamma * max(1, self.told_steps(seen))))
