"""A site in a live federation: what leaves it is recorded, judged, and entered into a ledger.

What imports libraries that take seconds is imported when it is first used: an engine may start a process per message.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_LAZY = {"watched": "loop", "Shown": "scoring", "shown": "scoring"}

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
    if name not in _LAZY:
        raise AttributeError(f"module 'leakward.live' has no attribute {name!r}")
    return getattr(import_module(f"leakward.live.{_LAZY[name]}"), name)
