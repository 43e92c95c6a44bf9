"""What a linter says, and where it looked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leakward.linting.flare import FlareJob, FlareSite
from leakward.linting.flower import FlowerApp
from leakward.linting.place import Place

Level = Literal["problem", "remark"]
"""A problem is there for certain; a remark is what the files cannot settle, or what holds for every such app."""
Subject = FlowerApp | FlareJob | FlareSite


@dataclass(frozen=True)
class Found:
    """One place at which a rule applies.

    Args:
        level: How sure and how bad it is.
        place: Where it stands.
        words: What stands there, with the numbers of this case.
    """

    level: Level
    place: Place
    words: str


@dataclass(frozen=True)
class Rule:
    """A trap, and how to see it.

    Args:
        name: As it is printed.
        reason: Why it is a trap.
        cure: What to do instead.
        check: Goes through all that was read of an app, a job or a site.
    """

    name: str
    reason: str
    cure: str
    check: Callable[[Subject], Iterator[Found]]


@dataclass(frozen=True)
class Finding:
    """A trap in a file.

    Args:
        rule: Name of the rule.
        level: ``"problem"`` or ``"remark"``.
        path: Of the file, seen from the folder that was read.
        line: In the file, from 1.
        found: What stands there.
        reason: Why it is a trap.
        cure: What to do instead.
    """

    rule: str
    level: Level
    path: Path
    line: int
    found: str
    reason: str
    cure: str
