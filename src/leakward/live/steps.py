"""Steps of DP-SGD by Opacus: the training tells the site, and the ledger of the site tells Opacus of earlier rounds.

    with counted(site, engine):
        train(model)

As images do, steps pass through a file of the site, because an engine runs its hooks elsewhere than the training.
"""

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakward.errors import CaptureError
from leakward.live.ledger import Steps

if TYPE_CHECKING:
    from opacus import PrivacyEngine  # takes seconds to import

    from leakward.live.site import LiveSite

NEXT = "next-steps.json"
"""The steps of the round that is not over."""


@contextmanager
def counted(site: "LiveSite", engine: "PrivacyEngine") -> Generator[None]:
    """Tell the site which steps of DP-SGD the block takes, so that its ledger has their epsilon.

    Args:
        site: Whose ledger it is.
        engine: Of Opacus: unless it has taken steps before, its accountant first gets what the ledger has of earlier
            rounds, so that its epsilon is that of all of them.

    Raises:
        CaptureError: If the steps cannot be written.
    """
    accountant: Any = engine.accountant
    if not accountant.history:
        accountant.history = [step for entry in site.ledger.entries(site.client) for step in entry.steps]
    earlier = _history(accountant)
    yield
    keep_steps(site.private, _since(earlier, _history(accountant)))


def keep_steps(folder: Path, steps: Sequence[Steps]) -> None:
    """Leave the steps of the round in ``folder``.

    Raises:
        CaptureError: If they cannot be written.
    """
    scratch = folder / f".{NEXT}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch.write_text(json.dumps(steps, allow_nan=False), encoding="utf-8")
        os.replace(scratch, folder / NEXT)
    except (OSError, ValueError) as error:
        raise CaptureError(f"steps: expected {folder} to be writable, got {type(error).__name__}") from error


def take_steps(folder: Path) -> tuple[Steps, ...]:
    """Take the steps that were left in ``folder`` for this round; none if nothing was.

    Raises:
        CaptureError: If the file cannot be read.
    """
    path = folder / NEXT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return tuple((float(noise), float(rate), int(count)) for noise, rate, count in found)
    except FileNotFoundError:
        return ()
    except (OSError, TypeError, ValueError) as error:
        raise CaptureError(f"steps {path}: expected a file that Leakward wrote; train this round again") from error


def drop_steps(folder: Path) -> None:
    """Remove the steps that a round which was never finished left in ``folder``, if there are any."""
    (folder / NEXT).unlink(missing_ok=True)


def _history(accountant: Any) -> list[Steps]:
    return [(float(noise), float(rate), int(count)) for noise, rate, count in accountant.history]


def _since(earlier: list[Steps], now: list[Steps]) -> tuple[Steps, ...]:
    """Return what was added; an accountant adds to its last line while noise and rate stay."""
    if earlier and len(now) >= len(earlier):
        noise, rate, count = now[len(earlier) - 1]
        more = count - earlier[-1][2]
        return (*([(noise, rate, more)] if more else []), *now[len(earlier) :])
    return tuple(now)
