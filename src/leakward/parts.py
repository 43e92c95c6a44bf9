"""How attacks and defences stand in a plan and in tables: as plain values, and under a short name.

A defence may be several: ``name = "chain"`` with ``parts``, a list of defences that act in that order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from leakward import registry
from leakward.attacks import Attack
from leakward.defenses.recipe_defense import RecipeDefense
from leakward.errors import LeakwardError, brief
from leakward.federated import Chain, Defense, LocalTraining
from leakward.federated.chain import parts_of
from leakward.settings import parse, plain_fields

CHAIN = "chain"
"""Stands for several defences as one."""


def read_parts(family: registry.Family, items: object, place: str, problems: list[str]) -> tuple[Any, ...]:
    """Return what a list of tables stands for; what is wrong with it is added to ``problems``."""
    if not isinstance(items, Sequence) or not all(isinstance(item, Mapping) for item in items):
        problems.append(f"{place}: expected repeated tables, got {brief(items)}")
        return ()
    made = [_read(family, dict(item), f"{place} {number}", problems) for number, item in enumerate(items, start=1)]
    return tuple(part for part in made if part is not None)


def plain_part(family: registry.Family, part: Attack | Defense) -> dict[str, Any]:
    """Return the table that an attack or a defence can be made from again, every default written out."""
    if isinstance(part, Chain):
        return {"name": CHAIN, "parts": [plain_part(family, one) for one in part.parts]}
    return {"name": registry.name_of(family, type(part)), **plain_fields(part)}


def label(family: registry.Family, part: Attack | Defense) -> str:
    """Return a short name: the registry name, and the settings that are not defaults."""
    if isinstance(part, Chain):
        return " + ".join(label(family, one) for one in part.parts)
    kind: Any = type(part)
    name, defaults = registry.name_of(family, kind), {f.name: f.default for f in fields(kind)}
    own = {key: value for key, value in plain_fields(part).items() if value != defaults[key]}
    return name + (f"({', '.join(f'{key}={value}' for key, value in own.items())})" if own else "")


def idle_part(defense: Defense, recipe: LocalTraining) -> Defense | None:
    """Return the first part of ``defense`` that is there to change ``recipe`` and leaves it as it is, or None."""
    for part in parts_of(defense):
        made = part.on_recipe(recipe)
        if made == recipe and isinstance(part, RecipeDefense):
            return part
        recipe = made
    return None


def _read(family: registry.Family, settings: dict[str, Any], place: str, problems: list[str]) -> Any:
    name, known = settings.pop("name", None), set(registry.names(family))
    if family == "defenses":
        known |= {CHAIN}
    if not isinstance(name, str) or name not in known:
        problems.append(f"{place}: unknown name {name!r}; allowed: {', '.join(sorted(known))}")
        return None
    if family == "defenses" and name == CHAIN:
        return _chain(settings, f"{place} {CHAIN}", problems)
    part, found = parse(registry.load(family, name), settings, f"{place} {name}")
    problems += found
    return part


def _chain(settings: dict[str, Any], place: str, problems: list[str]) -> Chain | None:
    unknown = sorted(settings.keys() - {"parts"})
    problems += [f"{place}: unknown key {key!r}; allowed: parts" for key in unknown]
    before = len(problems)
    parts = read_parts("defenses", settings.get("parts", []), f"{place} parts", problems)
    if len(parts) < 2 and len(problems) == before:
        problems.append(f"{place} parts: expected at least 2 defences, got {len(parts)}")
    try:
        return Chain(parts)
    except LeakwardError as error:
        problems.append(f"{place}: {error}")
        return None
