"""Steps of DP-SGD by Opacus: the training tells the site, and the ledger of the site tells Opacus of earlier rounds.

    with counted(site, engine):
        train(model)

As images do, steps pass through a file of the site, because an engine runs its hooks elsewhere than the training. Every
block adds a line to it, so that no step is lost where a round has several.
"""

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakward.errors import CaptureError, LeakwardError
from leakward.live.ledger import Steps, merged
from leakward.live.telling import told_to_the_site

if TYPE_CHECKING:
    from opacus import PrivacyEngine  # takes seconds to import

    from leakward.live.site import LiveSite

NEXT = "next-steps.jsonl"
"""The steps of the round that is not over."""
UNCOUNTED = "the steps of this round cannot be counted"


@contextmanager
def counted(site: "LiveSite", engine: "PrivacyEngine") -> Generator[None]:
    """Tell the site which steps of DP-SGD the block takes, so that its ledger has their epsilon.

    Args:
        site: Whose ledger it is.
        engine: Of Opacus: unless it has taken steps before, its accountant first gets those of earlier rounds from the
            ledger, and of earlier blocks of this round, so that its epsilon is that of all of them.

    Raises:
        WithheldError: If steps cannot be counted; the site's log says why.
    """
    accountant: Any = engine.accountant
    with told_to_the_site(UNCOUNTED, LeakwardError, site.client):
        if not accountant.history:
            before = [step for entry in site.ledger.entries(site.client) for step in entry.steps]
            accountant.history = merged([*before, *read_steps(site.private)])
        earlier = _history(accountant)
    try:
        yield
    finally:
        with told_to_the_site(UNCOUNTED, LeakwardError, site.client):
            keep_steps(site.private, added(earlier, _history(accountant)))


def keep_steps(folder: Path, steps: Sequence[Steps]) -> None:
    """Add the steps of a block to those of the round in ``folder``.

    Raises:
        CaptureError: If they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps(steps, allow_nan=False) + "\n"
        file = os.open(folder / NEXT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise CaptureError(f"steps: expected {folder} to be writable, got {type(error).__name__}") from error


def read_steps(folder: Path) -> tuple[Steps, ...]:
    """Return the steps that were left in ``folder`` for this round; none if nothing was.

    Raises:
        CaptureError: If the file is not whole.
    """
    path = folder / NEXT
    try:
        blocks = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return tuple((float(noise), float(rate), int(count)) for block in blocks for noise, rate, count in block)
    except FileNotFoundError:
        return ()
    except (OSError, TypeError, ValueError) as error:
        raise CaptureError(f"steps {path}: expected a file that Leakward wrote; train this round again") from error


def take_steps(folder: Path, begun: bool) -> tuple[Steps, ...]:
    """Take the steps that were left in ``folder``.

    Args:
        folder: Of the site.
        begun: Whether what lies there is known to be of this round.

    Raises:
        CaptureError: If they cannot be read, or may be of another round.
    """
    try:
        found = read_steps(folder)
    finally:
        drop_steps(folder)
    if found and not begun:
        raise CaptureError(
            "steps: expected a round that was begun, got none; add ModelCheckFilter to task_data_filters"
        )
    return found


def drop_steps(folder: Path) -> None:
    """Remove the steps that a round which was never finished left in ``folder``, if there are any."""
    (folder / NEXT).unlink(missing_ok=True)


def added(earlier: Sequence[Steps], now: Sequence[Steps]) -> tuple[Steps, ...]:
    """Return what an account of steps has now and did not have; more of its last line, or lines after it.

    Raises:
        CaptureError: If it lost some: then nobody can tell.
    """
    if not earlier:
        return tuple(now)
    place = len(earlier) - 1
    (noise, rate, count), last = earlier[place], now[place] if place < len(now) else None
    if last is None or [*now[:place]] != [*earlier[:place]] or last[:2] != (noise, rate) or last[2] < count:
        raise CaptureError("steps: expected an accountant that keeps all of them, as rdp and prv do; take one of these")
    more = last[2] - count
    return (*([(noise, rate, more)] if more else []), *now[place + 1 :])


def _history(accountant: Any) -> list[Steps]:
    return [(float(noise), float(rate), int(count)) for noise, rate, count in accountant.history]
