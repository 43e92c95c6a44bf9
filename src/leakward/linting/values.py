"""What an expression of a file is worth, as far as it can be told without running anything."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from leakward.linting.place import Place


class Unknown(Enum):
    """The type of the one value that stands for all that cannot be read."""

    UNKNOWN = "what cannot be read"


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True)
class Symbol:
    """A name that stands for itself, such as ``nvflare.client.config.TransferType.DIFF``."""

    name: str


@dataclass(frozen=True)
class Made:
    """A call, or a component in a configuration file.

    Args:
        name: Whole name of what is called, as imported.
        args: Arguments by position.
        keywords: Arguments by name.
        whole: Whether these are all; false after ``*`` or ``**``.
        place: Where it stands.
    """

    name: str
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    whole: bool
    place: Place

    def setting(self, name: str, position: int | None = None, default: Any = UNKNOWN) -> Any:
        """Return an argument; ``default`` if it is left out, ``UNKNOWN`` if that cannot be told."""
        if name in self.keywords:
            return self.keywords[name]
        if not self.whole:
            return UNKNOWN
        return self.args[position] if position is not None and position < len(self.args) else default

    def of(self, package: str, *names: str) -> bool:
        """Return whether this is one of ``names``, from anywhere in ``package``."""
        return is_of(self.name, package, *names)


def is_of(name: str, package: str, *names: str) -> bool:
    """Return whether a whole name is one of ``names``, from anywhere in ``package``."""
    return last(name) in names and name.startswith(f"{package}.")


def last(name: str) -> str:
    """Return the last part of a dotted name."""
    return name.rpartition(".")[2]


def word(value: Any) -> str | None:
    """Return a string, or the last part of a symbol: ``"DIFF"`` and ``TransferType.DIFF`` are the same."""
    return last(value.name) if isinstance(value, Symbol) else value if isinstance(value, str) else None


def words(value: Any) -> frozenset[str] | None:
    """Return the words of a list; None if it is no list of words."""
    if not isinstance(value, list | tuple):
        return None
    found = [word(item) for item in value]
    return None if None in found else frozenset(item for item in found if item is not None)


def number(value: Any) -> float | None:
    """Return a number; None for anything else, truth values and numbers beyond all bounds included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def finite(*values: float | None) -> bool:
    """Return whether all are numbers, and finite."""
    return all(value is not None and math.isfinite(value) for value in values)
