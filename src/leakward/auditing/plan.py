"""A ``Plan``: everything an audit is asked to do, in one TOML file."""

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from leakward import registry
from leakward.auditing.possible import impossible, out_of_range
from leakward.auditing.tables import AuditSettings, Plan, UtilitySettings
from leakward.errors import PlanError
from leakward.federated import LocalTraining, NoDefense
from leakward.parts import plain_part, read_parts
from leakward.settings import parse, plain_fields
from leakward.training import DataSettings, FederationSettings, ModelSettings

TABLES: dict[str, type[Any]] = {
    "data": DataSettings,
    "recipe": LocalTraining,
    "audit": AuditSettings,
    "utility": UtilitySettings,
    "federation": FederationSettings,
}


def quick_plan() -> dict[str, Any]:
    """Return the built-in plan, as plain tables."""
    return tomllib.loads(files("leakward.auditing").joinpath("quick.toml").read_text(encoding="utf-8"))


def read_plan(path: Path) -> dict[str, Any]:
    """Read a plan file as plain tables.

    Raises:
        PlanError: If it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"plan {path}: expected a readable file, got: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"plan {path}: expected TOML, got: {error}; mend that line") from error


def make_plan(tables: Mapping[str, Any]) -> Plan:
    """Check plain tables and return the plan.

    Raises:
        PlanError: Lists every problem with its place and what is allowed.
    """
    tables = json.loads(json.dumps(dict(tables), default=str))  # dates and paths become words
    known = {*TABLES, "model", "attack", "defense"}
    problems = [f"unknown table [{name}]; allowed: {', '.join(sorted(known))}" for name in tables if name not in known]
    made: dict[str, Any] = {}
    for name, kind in TABLES.items():
        made[name], found = parse(kind, _table(tables, name, problems), f"[{name}]")
        problems += found
    if "federation" not in tables:
        made["federation"] = None
    made["model"] = _model(dict(_table(tables, "model", problems)), problems)
    made["attacks"] = read_parts("attacks", tables.get("attack", [{"name": "ensemble"}]), "[[attack]]", problems)
    made["defenses"] = read_parts("defenses", tables.get("defense", []), "[[defense]]", problems)
    if not made["attacks"] and not problems:
        problems.append("[[attack]]: expected at least one, got none")
    if not problems:
        problems += out_of_range(made)
    made["attacks"] = tuple(dict.fromkeys(made["attacks"]))
    made["defenses"] = (NoDefense(), *(d for d in dict.fromkeys(made["defenses"]) if d != NoDefense()))
    if not problems:
        problems += impossible(Plan(**made))
    if problems:
        raise PlanError("the plan has problems:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return Plan(**made)


def plain(plan: Plan) -> dict[str, Any]:
    """Return a plan as the plain tables it can be made from again, every default written out."""
    tables = {name: plain_fields(table) for name in TABLES if (table := getattr(plan, name)) is not None}
    given = {name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()}
    return given | {
        "model": {"name": plan.model.name, **plan.model.options},
        "attack": [plain_part("attacks", attack) for attack in plan.attacks],
        "defense": [plain_part("defenses", defense) for defense in plan.defenses],
    }


def _table(tables: Mapping[str, Any], name: str, problems: list[str]) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if isinstance(table, Mapping):
        return table
    problems.append(f"[{name}]: expected a table, got {table!r}")
    return {}


def _model(options: dict[str, Any], problems: list[str]) -> ModelSettings:
    name = options.pop("name", ModelSettings.name)
    if not isinstance(name, str) or (":" not in name and name not in registry.names("models")):
        allowed = ", ".join(sorted(registry.names("models")))
        problems.append(f"[model] name: unknown name {name!r}; allowed: {allowed}, or package.module:factory")
    wrong = {key: value for key, value in options.items() if not isinstance(value, int | float | str)}
    problems += [f"[model] {k}: expected a number, a word or a truth value, got {v!r}" for k, v in wrong.items()]
    return ModelSettings(str(name), {key: value for key, value in options.items() if key not in wrong})
