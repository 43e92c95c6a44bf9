"""What is imported when it is first used: things by the place they are at, ``module`` or ``module:attribute``."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def imported(place: str) -> Any:
    """Import what is at ``place``."""
    module, _, attribute = place.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def member(package: str, places: Mapping[str, str], name: str) -> Any:
    """Import what a package calls ``name``.

    Raises:
        AttributeError: If it has none of that name, as Python expects of a package.
    """
    if name not in places:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return imported(places[name])
