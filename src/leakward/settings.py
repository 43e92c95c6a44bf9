"""Plain values to and from the frozen dataclasses that are Leakward's settings.

One dataclass is one table of a plan: its fields are the keys. Unknown keys, wrong types and values out of range are
all found together, each with its place and what is allowed.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch import Tensor

from leakward.errors import LeakwardError, brief

Settings = TypeVar("Settings")


def plain_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are settings; fitted tensors are left out."""
    return {name: getattr(value, name) for name in _settings(type(value))}


def tensor_fields(value: Any) -> dict[str, Tensor]:
    """Return the fields of a dataclass that hold fitted tensors."""
    return {f.name: v for f in fields(value) if isinstance(v := getattr(value, f.name), Tensor)}


def allowed_keys(kind: type[Any]) -> tuple[str, ...]:
    """Return the keys a table for ``kind`` may have."""
    return tuple(_settings(kind))


def parse(kind: type[Settings], table: Mapping[str, Any], place: str) -> tuple[Settings | None, list[str]]:
    """Make a ``kind`` from a table, or say everything that is wrong with it.

    Args:
        kind: A frozen dataclass.
        table: Its fields by name, as TOML or JSON has them.
        place: Where the table stands, for messages.

    Returns:
        The object and no problems, or None and one sentence per problem.
    """
    try:
        checked = _checker(kind).model_validate_json(json.dumps(dict(table)))
    except ValidationError as error:
        return None, [_sentence(kind, place, item) for item in error.errors()]
    try:
        return kind(**{name: getattr(checked, name) for name in checked.model_fields_set}), []
    except LeakwardError as error:
        return None, [f"{place}: {error}"]


def _settings(kind: type[Any]) -> dict[str, tuple[Any, Field[Any]]]:
    hints = get_type_hints(kind)
    return {f.name: (hints[f.name], f) for f in fields(kind) if f.init and not _holds_tensor(hints[f.name])}


def _holds_tensor(hint: Any) -> bool:
    return any(getattr(part, "array_type", part) is Tensor for part in (hint, *get_args(hint)))


def _checker(kind: type[Any]) -> type[BaseModel]:
    shape: dict[str, Any] = {
        name: (hint, ... if field.default is MISSING and field.default_factory is MISSING else None)
        for name, (hint, field) in _settings(kind).items()
    }
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", strict=True), **shape)


def _sentence(kind: type[Any], place: str, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key {key!r}; allowed: {', '.join(allowed_keys(kind)) or 'none'}"
    if item["type"] == "missing":
        return f"{place}: expected a key {key!r}, got none"
    return f"{place} {key}: {item['msg'].lower().replace('input ', '')}, got {brief(item['input'])}"
