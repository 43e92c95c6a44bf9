"""Configuration files of the engines as plain values, and the lines on which their components stand."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakward.linting.place import Place
from leakward.linting.values import Made

NODES = 100_000
"""Values of a file that are looked at."""
DOTS = 100
"""In one line of TOML; the time to read a dotted key grows with the square of its length."""
LARGEST_HOCON = 10_000
"""Bytes; its parser needs seconds for them."""
FORMATS = (".json", ".conf", ".yml", ".yaml")
"""In the order in which FLARE looks for them."""


class ConfigError(ValueError):
    """A configuration file cannot be read; the message says why."""


@dataclass(frozen=True)
class Component:
    """A component of a configuration file, which has a ``path`` and ``args``.

    Args:
        trail: Keys and indices that lead to it.
        made: It, as a call.
        disabled: Whether the file says so.
    """

    trail: tuple[str, ...]
    made: Made
    disabled: bool


def load(content: bytes, path: Path) -> dict[str, Any]:
    """Return the table that a TOML, JSON, HOCON or YAML file holds.

    Raises:
        ConfigError: If it holds none.
    """
    try:
        found = _LOADERS[path.suffix](content.decode("utf-8"))
    except ConfigError:
        raise
    except (RecursionError, MemoryError):
        raise ConfigError("nested too deeply") from None
    except Exception as error:  # each parser has its own
        raise ConfigError(f"no {path.suffix[1:].upper()}: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"expected a table, got {type(found).__name__}")
    return found


def components(table: dict[str, Any], content: bytes, path: Path) -> tuple[Component, ...]:
    """Return all components of a table in the order of the file.

    Raises:
        ConfigError: If the table is too large.
    """
    lines = lines_of(content.decode("utf-8"))
    seen: Counter[str] = Counter()
    found: list[Component] = []
    for trail, entry in _tables(table):
        name = next((entry[key] for key in ("path", "class_path", "name") if isinstance(entry.get(key), str)), None)
        if name is None or not trail:
            continue
        line = lines.get(name, [1])[seen[name] :][:1] or [1]
        seen[name] += 1
        args = entry.get("args")
        keywords = {str(key): value for key, value in args.items()} if isinstance(args, dict) else {}
        whole = name if "." in name else f"nvflare.{name}"  # FLARE looks for bare names among its own
        made = Made(whole, (), keywords, True, Place(path, line[0]))
        found.append(Component(trail, made, entry.get("disabled") is True))
    return tuple(found)


def lines_of(text: str) -> dict[str, list[int]]:
    """Return the lines on which each word of a text stands; names with dots and dashes are one word."""
    found: dict[str, list[int]] = {}
    for count, line in enumerate(text.splitlines(), start=1):
        for name in re.findall(r"[\w.-]+", line):
            found.setdefault(name, []).append(count)
    return found


def _tables(table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return every table inside a table with the keys that lead to it, in the order of the file."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), table)]
    for _ in range(NODES):
        if not waiting:
            return
        trail, value = waiting.pop()
        if isinstance(value, dict):
            yield trail, value
            waiting += [((*trail, str(key)), below) for key, below in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*trail, str(index)), below) for index, below in reversed(list(enumerate(value)))]
    raise ConfigError(f"more than {NODES} values")


def _toml(text: str) -> Any:
    if any(line.count(".") > DOTS for line in text.splitlines()):
        raise ConfigError(f"more than {DOTS} dots in a line")
    return tomllib.loads(text)


def _hocon(text: str) -> Any:
    try:
        from pyhocon import ConfigFactory
    except ImportError:
        raise ConfigError("HOCON, which needs the package pyhocon") from None
    if len(text) > LARGEST_HOCON:
        raise ConfigError(f"HOCON of more than {LARGEST_HOCON} characters")
    if re.search(r"\binclude\b", text):
        raise ConfigError("HOCON that includes other files")
    return _plain(ConfigFactory.parse_string(text, resolve=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(below) for key, below in value.items()}
    return [_plain(below) for below in value] if isinstance(value, list) else value


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError("YAML, which needs the package pyyaml") from None
    if any(getattr(event, "anchor", None) for event in yaml.parse(text, yaml.SafeLoader)):
        raise ConfigError("YAML with anchors, of which a short file can make an endless one")
    return yaml.safe_load(text)


_LOADERS = {".toml": _toml, ".json": json.loads, ".conf": _hocon, ".yml": _yaml, ".yaml": _yaml}
