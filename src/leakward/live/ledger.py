"""The ledger: what left a site, and what it cost, in one file that only grows.

One line of JSON is one message, written whole, flushed to the disk and locked against other writers before the message
leaves. Every line carries a checksum of itself and of the line before, so that a changed or removed line shows. A line
that was being written when the machine stopped is passed over: its message never left.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from leakward.errors import LeakwardError
from leakward.parts import read_parts
from leakward.settings import parse

Steps = tuple[float, float, int]
"""Noise multiplier, share of the images in a step, and number of such steps, as Opacus's accountants keep them."""


@dataclass(frozen=True)
class Entry:
    """One message.

    Attributes:
        client: Whose.
        round: Of the engine; 0 where it does not say.
        sent: Whether it left.
        reason: Why, or why not.
        images: Behind it.
        defense: Table of the defence, as in a plan.
        steps: Of DP-SGD by Opacus behind it.
        unprotected: Whether something left that the defence did not act on.
        identified: Share of the images that the gate's attack identified, or None.
        epsilon: Of all that left so far, this message included; None where nothing is proven.
        delta: At which.
        time: In UTC.
    """

    client: str
    round: int
    sent: bool
    reason: str
    images: int
    defense: dict[str, Any]
    steps: tuple[Steps, ...] = ()
    unprotected: bool = False
    identified: float | None = None
    epsilon: float | None = None
    delta: float = 1e-5
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True)
class Ledger:
    """One file.

    Attributes:
        path: Of it; it is made with the first entry.
    """

    path: Path

    def entries(self, client: str | None = None) -> list[Entry]:
        """Return what was entered, of one client or of all.

        Raises:
            LeakwardError: If the file cannot be read, or a line was changed or removed.
        """
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        except OSError as error:
            raise self._error(error.strerror or "") from error
        return [entry for entry, _ in self._checked(text) if client in (None, entry.client)]

    def append(self, entry: Entry) -> None:
        """Enter a message, and return once it is on the disk.

        Raises:
            LeakwardError: If that cannot be, or the file was changed.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8", errors="replace") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._write(file, entry)
        except OSError as error:
            raise self._error(error.strerror or "") from error

    def _write(self, file: TextIO, entry: Entry) -> None:
        file.seek(0)
        text = file.read()
        lines = self._checked(text)
        content = json.dumps(asdict(entry), allow_nan=False)
        check = _checksum(lines[-1][1] if lines else "", content)
        torn = "\n" if text and not text.endswith("\n") else ""
        file.write(f'{torn}{{"check": "{check}", "entry": {content}}}\n')
        file.flush()
        os.fsync(file.fileno())

    def _checked(self, text: str) -> list[tuple[Entry, str]]:
        """Return the entries and their checksums."""
        found: list[tuple[Entry, str]] = []
        for number, line in enumerate(text.splitlines(), start=1):
            made: dict[str, Any] | None = None
            with suppress(ValueError, RecursionError):  # torn
                made = json.loads(line)
            if made is None:
                continue
            before = found[-1][1] if found else ""
            entry, check = _read(made)
            if entry is None or check != _checksum(before, json.dumps(made["entry"])):
                raise self._error(f"another content of line {number}, or of the one before it")
            found.append((entry, check))
        return found

    def _error(self, got: str) -> LeakwardError:
        return LeakwardError(f"ledger {self.path}: expected a file that Leakward alone wrote to, got {got}")


def composed(entries: Iterable[Entry], delta: float) -> float | None:
    """Return epsilon of all messages that left, for one image of the client; None where nothing is proven.

    Messages of one defence are composed by its own accountant, steps of DP-SGD by Rényi divergences, and these groups
    by adding epsilon and delta. Every message may hold every image: how an engine samples is not counted on. Steps
    count even if their message was withheld, as Opacus's own accountant has it.
    """
    entries = [*entries]
    left = [entry for entry in entries if entry.sent]
    if any(entry.unprotected for entry in left):
        return None
    steps = [step for entry in entries for step in entry.steps]
    defended = [json.dumps(entry.defense) for entry in left if not entry.steps]
    share = delta / max(1, len({*defended}) + bool(steps))
    groups = [_of_defense(json.loads(table), defended.count(table), share) for table in {*defended}]
    groups += [_of_steps(steps, share)] if steps else []
    known = [epsilon for epsilon in groups if epsilon is not None]
    return sum(known, 0.0) if len(known) == len(groups) else None


def merged(steps: Iterable[Steps]) -> list[Steps]:
    """Return steps with equal neighbours as one, as accountants keep them."""
    found: list[Steps] = []
    for noise, rate, count in steps:
        if found and found[-1][:2] == (noise, rate):
            count += found.pop()[2]
        found.append((noise, rate, count))
    return found


def _of_defense(table: Mapping[str, Any], messages: int, delta: float) -> float | None:
    found = read_parts("defenses", [table], "ledger", [])
    guarantee = found[0].guarantee(1.0, messages, delta) if found else None
    return None if guarantee is None else guarantee.epsilon


def _of_steps(steps: Sequence[Steps], delta: float) -> float:
    from opacus.accountants import RDPAccountant  # takes seconds to import

    accountant = RDPAccountant()
    accountant.history = merged(steps)
    return float(accountant.get_epsilon(delta))


def _read(made: Any) -> tuple[Entry | None, str]:
    """Return what a line says; no entry where it is none."""
    if not isinstance(made, dict) or not isinstance(made.get("entry"), dict):
        return None, ""
    return parse(Entry, made["entry"], "ledger")[0], str(made.get("check"))


def _checksum(before: str, content: str) -> str:
    return hashlib.sha256(f"{before}{content}".encode()).hexdigest()[:32]
