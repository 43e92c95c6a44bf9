"""A site in a live federation: what leaves it is recorded, judged, and entered into a ledger.

What imports libraries that take seconds is imported when it is first used: an engine may start a process per message.
"""

from typing import TYPE_CHECKING, Any

from leakward.lazy import member
from leakward.live.account import Account, accounts
from leakward.live.gate import Decision
from leakward.live.ledger import Entry, Ledger, composed
from leakward.live.private import PrivateBatch, keep_private_batch, load_private_batch
from leakward.live.settings import Gate, SiteSettings, read_site
from leakward.live.site import LiveSite
from leakward.live.steps import counted

if TYPE_CHECKING:
    from leakward.live.loop import watched
    from leakward.live.scoring import Shown, shown

_LAZY = {
    "watched": "leakward.live.loop:watched",
    "Shown": "leakward.live.scoring:Shown",
    "shown": "leakward.live.scoring:shown",
}

__all__ = [
    "Account",
    "Decision",
    "Entry",
    "Gate",
    "Ledger",
    "LiveSite",
    "PrivateBatch",
    "Shown",
    "SiteSettings",
    "accounts",
    "composed",
    "counted",
    "keep_private_batch",
    "load_private_batch",
    "read_site",
    "shown",
    "watched",
]


def __getattr__(name: str) -> Any:
    return member(__name__, _LAZY, name)
