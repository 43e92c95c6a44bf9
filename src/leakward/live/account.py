"""What a ledger comes to, client by client."""

from collections.abc import Sequence
from dataclasses import dataclass

from leakward.live.ledger import Entry


@dataclass(frozen=True)
class Account:
    """Of one client.

    Attributes:
        client: Its name.
        sent: Messages that left.
        withheld: Messages that did not.
        epsilon: Of all that left, for one image of the client; None where nothing is proven.
        delta: At which.
        identified: Largest share of the images of a message that the gate's attack identified, whether it left or not;
            None where none was judged.
        reason: Why the last message that was withheld was; empty where none was.
    """

    client: str
    sent: int
    withheld: int
    epsilon: float | None
    delta: float
    identified: float | None
    reason: str


def accounts(entries: Sequence[Entry]) -> list[Account]:
    """Return what all clients of a ledger come to, in the order in which they first sent."""
    clients = dict.fromkeys(entry.client for entry in entries)
    return [_account([entry for entry in entries if entry.client == name]) for name in clients]


def _account(entries: Sequence[Entry]) -> Account:
    last = entries[-1]
    withheld = [entry for entry in entries if not entry.sent]
    judged = [entry.identified for entry in entries if entry.identified is not None]
    return Account(
        last.client,
        len(entries) - len(withheld),
        len(withheld),
        last.epsilon,
        last.delta,
        max(judged, default=None),
        withheld[-1].reason if withheld else "",
    )
