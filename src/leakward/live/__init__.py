"""A site in a live federation: what leaves it is recorded, judged, and entered into a ledger."""

from leakward.live.account import Account, accounts
from leakward.live.gate import Decision
from leakward.live.ledger import Entry, Ledger, composed
from leakward.live.loop import watched
from leakward.live.private import PrivateBatch, keep_private_batch, load_private_batch
from leakward.live.scoring import Shown, shown
from leakward.live.settings import Gate, SiteSettings, read_site
from leakward.live.site import LiveSite

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
    "keep_private_batch",
    "load_private_batch",
    "read_site",
    "shown",
    "watched",
]
