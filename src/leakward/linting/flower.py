"""A Flower app: its client apps with their mods, outermost first, and its settings."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakward.linting.config import ConfigError, lines_of, load
from leakward.linting.files import Folder, Unread
from leakward.linting.place import Place
from leakward.linting.python import Source
from leakward.linting.sources import FUNCTIONS, Function
from leakward.linting.values import Made, Symbol, is_of, last

PROJECT = Path("pyproject.toml")
KINDS = ("train", "evaluate", "query")
CLIENT_FN = "client_fn"
"""The older form of a client app, one function for messages of all kinds."""


@dataclass(frozen=True)
class Mod:
    """A mod of a client app.

    Args:
        name: Whole name of the function, or of the class that it is made of; empty if it cannot be told.
        place: Where it is listed.
        app_wide: Whether it is registered for messages of all kinds.
    """

    name: str
    place: Place
    app_wide: bool


@dataclass(frozen=True)
class Handler:
    """A function that a client app calls for messages of a kind.

    Args:
        kind: One of ``KINDS``, or ``CLIENT_FN``.
        mods: Around it, the outermost first; None if they cannot be read.
        source: File that has it.
        function: None for ``CLIENT_FN``.
    """

    kind: str
    mods: tuple[Mod, ...] | None
    source: Source
    function: Function | None


@dataclass(frozen=True)
class FlowerApp:
    """What was read of a Flower app.

    Args:
        sources: Its Python files.
        handlers: What its client apps do with messages.
        settings: ``[tool.flwr.app.config]`` of ``pyproject.toml``, without tables in tables.
        project: ``pyproject.toml`` as text.
    """

    sources: tuple[Source, ...]
    handlers: tuple[Handler, ...]
    settings: Mapping[str, Any]
    project: str

    def calls(self) -> Iterator[Made]:
        """Return all calls in its files."""
        return (made for source in self.sources for made in source.calls)

    def mods(self) -> Iterator[Mod]:
        """Return all mods that can be read, those of the whole app once for each of its functions."""
        return (mod for handler in self.handlers for mod in handler.mods or ())

    def setting_place(self, name: str) -> Place:
        """Return where a setting stands."""
        lines = lines_of(self.project)
        return Place(PROJECT, (lines.get(name) or lines.get(last(name)) or [1])[0])


def read_flower(folder: Folder, sources: tuple[Source, ...]) -> tuple[FlowerApp | None, tuple[Unread, ...]]:
    """Return the Flower app of a folder, and its ``pyproject.toml`` if that cannot be read; None if there is no app."""
    content, unread, project = folder.files.get(PROJECT, b""), (), {}
    try:
        project = load(content, PROJECT)
    except ConfigError as error:
        unread = (Unread(Place(PROJECT, 1), str(error), True),)
    app = _below(project, "tool", "flwr", "app")
    engine = any(made.of("flwr", "ClientApp", "ServerApp") for source in sources for made in source.calls)
    if not engine and not app:
        return None, ()
    handlers = tuple(handler for source in sources for handler in _handlers(source))
    settings = dict(_flat(_below(app, "config")))
    return FlowerApp(sources, handlers, settings, content.decode("utf-8", "replace")), unread


def _below(table: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        table = table.get(key, {})
        if not isinstance(table, dict):
            return {}
    return table


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", below) for name, below in _flat(value))
        else:
            yield key, value


def _handlers(source: Source) -> Iterator[Handler]:
    """Return what the client apps of a file do with messages."""
    apps = list(_client_apps(source))
    for _, call in apps:
        if call.args or any(keyword.arg == CLIENT_FN for keyword in call.keywords):
            yield Handler(CLIENT_FN, _mods(source, call, app_wide=True), source, None)
    for function in (node for kind in FUNCTIONS for node in source.all(kind)):
        for decorator in function.decorator_list:
            for name, call in apps:
                kind = _registers(decorator, name)
                if kind is not None and isinstance(decorator, ast.Call):
                    around, own = _mods(source, call, app_wide=True), _mods(source, decorator, app_wide=False)
                    mods = None if around is None or own is None else around + own
                    yield Handler(kind, mods, source, function)


def _client_apps(source: Source) -> Iterator[tuple[str, ast.Call]]:
    """Return the client apps that a file makes, by name; a name may have several."""
    for node in (node for kind in (ast.Assign, ast.AnnAssign) for node in source.all(kind)):
        name = source.name(node.value.func) if isinstance(node.value, ast.Call) else None
        if isinstance(node.value, ast.Call) and name is not None and is_of(name, "flwr", "ClientApp"):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def _registers(decorator: ast.expr, app: str) -> str | None:
    """Return for which kind ``@app.kind(...)`` registers a function; None if it is no such thing."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    own = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == app
    return called.attr if own and isinstance(called, ast.Attribute) and called.attr in KINDS else None


def _mods(source: Source, call: ast.Call, *, app_wide: bool) -> tuple[Mod, ...] | None:
    """Return the mods that a call lists; None if they cannot be read."""
    given = [keyword.value for keyword in call.keywords if keyword.arg in ("mods", None)]
    given += call.args[1:2] if app_wide else []
    if not given:
        return ()
    listed = source.follow(given[0])
    if not isinstance(listed, ast.List | ast.Tuple):
        return () if isinstance(listed, ast.Constant) else None
    return tuple(_mod(source, item, app_wide) for item in listed.elts)


def _mod(source: Source, item: ast.expr, app_wide: bool) -> Mod:
    value = source.value(item)
    name = value.name if isinstance(value, Made | Symbol) else ""
    return Mod(name, source.place(item), app_wide)
