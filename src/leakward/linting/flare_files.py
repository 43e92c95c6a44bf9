"""Reading FLARE's configuration files: exported jobs, and the ``local`` folder of a site."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leakward.linting.config import FORMATS, Component, ConfigError, components, lines_of, load
from leakward.linting.files import Folder, Unread
from leakward.linting.flare import Chain, FlareSite, SetFilter, transfer_of
from leakward.linting.place import Place
from leakward.linting.python import Source
from leakward.linting.values import words

CLIENT = "config_fed_client"
RESULTS, OTHERS = "task_result_filters", "task_data_filters"
PRIVACY = "privacy.json"
OF_SITES = (PRIVACY, "privacy.json.sample", "resources.json.default", "authorization.json.default")
"""Files of which at least one stands in the ``local`` folder of a site."""
OF_SERVERS = Path("startup/fed_server.json")
"""Of a server's workspace, whose filters act on what has already left the sites."""


def read_apps(folder: Folder, sources: tuple[Source, ...]) -> tuple[tuple[Chain, ...], tuple[Unread, ...]]:
    """Return the client apps of an exported job, and their files that cannot be read."""
    found: list[Chain] = []
    unread: list[Unread] = []
    for path in _configurations(folder):
        try:
            found.append(_app(path, folder.files[path], sources))
        except ConfigError as error:
            unread.append(Unread(Place(path, 1), str(error), True))
    return tuple(found), tuple(unread)


def read_site(folder: Folder, sources: tuple[Source, ...]) -> tuple[FlareSite | None, tuple[Unread, ...]]:
    """Return the site whose workspace, or ``local`` folder, this is, and its file if that cannot be read."""
    locals_ = [place for place in (Path("local"), Path()) if any(place / name in folder.files for name in OF_SITES)]
    if not locals_ or OF_SERVERS in folder.files:
        return None, ()
    local = locals_[0]
    own = tuple(source for source in sources if source.path.is_relative_to(local))
    path = local / PRIVACY
    if path not in folder.files:
        return FlareSite(own, Place(path, 1), None, None), ()
    try:
        return _site(path, folder.files[path], own), ()
    except ConfigError as error:
        return FlareSite(own, Place(path, 1), (), None), (Unread(Place(path, 1), str(error), True),)


def _configurations(folder: Folder) -> Iterator[Path]:
    """Return the configuration files of client apps, of each app the one that FLARE takes."""
    for place in dict.fromkeys(path.parent for path in folder.files if path.stem == CLIENT):
        yield next(place / f"{CLIENT}{suffix}" for suffix in FORMATS if place / f"{CLIENT}{suffix}" in folder.files)


def _app(path: Path, content: bytes, sources: tuple[Source, ...]) -> Chain:
    table = load(content, path)
    found = components(table, content, path)
    runs = [each.made for each in found if _is_below(each, "executors", "executor")]
    results, others = (tuple(_filters(found, table, key)) for key in (RESULTS, OTHERS))
    app = path.parent.parent
    own = [source for source in sources if source.path.is_relative_to(app)]
    return Chain(app.name, Place(path, 1), results, others, transfer_of(runs, own), _executed(table))


def _filters(found: tuple[Component, ...], table: dict[str, Any], key: str) -> Iterator[SetFilter]:
    """Return the filters of one kind of a job's client."""
    chains = table.get(key)
    for each in found:
        if isinstance(chains, list) and _is_below(each, key, "filters"):
            entry = chains[int(each.trail[1])]
            yield SetFilter(each.made, words(entry.get("tasks")), each.disabled)


def _is_below(each: Component, key: str, inner: str) -> bool:
    """Return whether a component stands in ``key[n].inner`` or ``key[n].inner[m]``, and not inside another one."""
    return each.trail[0] == key and each.trail[2:3] == (inner,) and len(each.trail) == (4 if inner == "filters" else 3)


def _executed(table: dict[str, Any]) -> frozenset[str] | None:
    executors = table.get("executors")
    if not isinstance(executors, list):
        return None
    found = [words(each.get("tasks")) if isinstance(each, dict) else None for each in executors]
    known = [each for each in found if each is not None]
    return frozenset().union(*known) if known and len(known) == len(found) else None


def _site(path: Path, content: bytes, sources: tuple[Source, ...]) -> FlareSite:
    table, lines = load(content, path), lines_of(content.decode("utf-8"))
    found = components(table, content, path)
    scopes = table.get("scopes")
    chains: list[Chain] = []
    for index, scope in enumerate(scopes if isinstance(scopes, list) else []):
        if not isinstance(scope, dict):
            raise ConfigError(f"expected tables as scopes, got {type(scope).__name__}")
        own = [each for each in found if each.trail[:2] == ("scopes", str(index)) and len(each.trail) == 4]
        results, others = (
            tuple(SetFilter(each.made, None, each.disabled) for each in own if each.trail[2] == key)
            for key in (RESULTS, OTHERS)
        )
        name = str(scope.get("name", ""))
        chains.append(Chain(name, Place(path, lines.get(name, [1])[0]), results, others, None, None))
    default = table.get("default_scope")
    return FlareSite(sources, Place(path, 1), tuple(chains), default if isinstance(default, str) else None)
