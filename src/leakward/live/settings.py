"""What a site sets for its part in a live federation: one TOML file, which stays with the site.

[site]                          # name, folder, record, delta
[task]                          # the network, as in a capture
[recipe]                        # what clients were asked to do, as in a plan
[gate]                          # left out, updates are recorded and not judged
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from leakward.errors import PlanError
from leakward.federated import LocalTraining
from leakward.fields import check, one_of, positive
from leakward.models import TaskSpec
from leakward.parts import read_parts
from leakward.settings import parse

Doubt = Literal["withhold", "send"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names become folders."""


@dataclass(frozen=True)
class Gate:
    """An attack that every update has to withstand before it leaves.

    Attributes:
        attack: Table of an attack of an honest server, as in a plan.
        max_identified: Largest share of a round's images that it may identify, in [0, 1).
        seconds: Longest time that all of it may take; what is not judged by then is withheld.
        inconclusive: What becomes of an update where the attack finds nothing without a defence either.
    """

    attack: Mapping[str, Any] = field(default_factory=lambda: {"name": "ensemble", "iterations": 150})
    max_identified: float = 0.0
    seconds: float = 300.0
    inconclusive: Doubt = "withhold"

    def __post_init__(self) -> None:
        check(
            self,
            ("max_identified", self.max_identified, "a number in [0, 1)", 0 <= self.max_identified < 1),
            positive("seconds", self.seconds),
            one_of("inconclusive", self.inconclusive, get_args(Doubt)),
        )


@dataclass(frozen=True)
class Home:
    """The ``[site]`` table.

    Attributes:
        name: In the ledger: letters, digits, ``-`` and ``_``.
        folder: Where everything is kept; if relative, from the folder of the file.
        record: Whether captures and private batches are kept after they were judged.
        delta: At which epsilon is told, in (0, 1).
    """

    name: str
    folder: str = "leakward"
    record: bool = True
    delta: float = 1e-5

    def __post_init__(self) -> None:
        check(
            self,
            ("name", self.name, "letters, digits, - and _", NAME.fullmatch(self.name) is not None),
            ("delta", self.delta, "a number in (0, 1)", 0 < self.delta < 1),
        )


@dataclass(frozen=True)
class SiteSettings:
    """Of one site.

    Attributes:
        home: Its name, and where it keeps what.
        task: The network of the federation.
        recipe: Of a round; ``batch_images`` is set to the images that a round has.
        gate: None where updates are recorded and not judged.
    """

    home: Home
    task: TaskSpec
    recipe: LocalTraining
    gate: Gate | None


TABLES: Mapping[str, type[Any]] = {"site": Home, "task": TaskSpec, "recipe": LocalTraining, "gate": Gate}


def read_site(path: Path) -> SiteSettings:
    """Read the file of a site; its folder becomes an absolute path.

    Raises:
        PlanError: If it is missing or broken; lists every problem with its place and what is allowed.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"site {path}: expected a readable file, got: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"site {path}: expected TOML, got: {error}; mend that line") from error
    problems = [f"unknown table [{name}]; allowed: {', '.join(TABLES)}" for name in tables if name not in TABLES]
    made: dict[str, Any] = {}
    for name, kind in TABLES.items():
        table = tables.get(name, {})
        made[name], found = (
            parse(kind, table, f"[{name}]") if isinstance(table, Mapping) else (None, [f"[{name}]: expected a table"])
        )
        problems += found
    problems += [] if problems else _impossible(made)
    if problems:
        raise PlanError(f"site {path} has problems:\n" + "\n".join(f"  - {problem}" for problem in problems))
    home: Any = replace(made["site"], folder=str((path.parent / made["site"].folder).resolve()))
    return SiteSettings(home, made["task"], made["recipe"], made["gate"] if "gate" in tables else None)


def _impossible(made: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with tables that are right each for itself."""
    problems: list[str] = []
    if made["recipe"].share != "update":
        problems.append("[recipe] share: expected 'update', for engines send changes of weights")
    found = read_parts("attacks", [made["gate"].attack], "[gate] attack", problems)
    problems += [
        f"[gate] attack {number}: expected one of an honest server" for number, a in enumerate(found, 1) if a.active
    ]
    return problems
