"""``Cell``: one point of the grid. Its content hash is its id, its seed source and its file name."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from leakward.attacks import Attack
from leakward.auditing.plan import Plan, plain
from leakward.federated import Defense, LocalTraining, NoDefense
from leakward.parts import label, plain_part
from leakward.streams import digest
from leakward.threat import Knowledge

MALICIOUS = "malicious"
"""A server that sends a model of its own making, and the level of an attacker who is one."""


@dataclass(frozen=True)
class Cell:
    """One attack on one defence at one level of knowledge and one seed.

    Attributes:
        attack: Run against every victim.
        defense: Switched on at the client.
        knowledge: What the attacker knows of it.
        seed: Of this repetition.
        after_rounds: Of training, before the update is sent.
    """

    attack: Attack
    defense: Defense
    knowledge: Knowledge
    seed: int
    after_rounds: int = 0


def cells(plan: Plan) -> Iterator[Cell]:
    """Yield the grid of a plan, the undefended client first.

    Without a defence there is nothing to be unaware of, and a server that breaks the protocol knows what it breaks.
    """
    for seed, after_rounds, defense in product(plan.audit.seeds, plan.audit.after_rounds, plan.defenses):
        for knowledge in ("aware",) if defense == NoDefense() else plan.audit.knowledge:
            for attack in plan.attacks:
                if knowledge == "aware" or not attack.active:
                    yield Cell(attack, defense, knowledge, seed, after_rounds)


def cell_id(plan: Plan, cell: Cell, fingerprint: str) -> str:
    """Return the content hash of a cell: everything its numbers depend on, and nothing else.

    Args:
        plan: It belongs to.
        cell: One point of its grid.
        fingerprint: Of the images themselves.
    """
    tables = plain(plan)
    audit = {key: tables["audit"][key] for key in ("victims", "labels", "public_images", "aggregated_clients")}
    audit |= {"measures": plan.audit.measures} if plan.audit.measures else {}
    return digest(
        {
            "images": fingerprint,
            "audit": audit,
            "attack": plain_part("attacks", cell.attack),
            "files": [_content(path) for path in (*cell.attack.files(), *cell.defense.files())],
            "defense": plain_part("defenses", cell.defense),
            "knowledge": cell.knowledge,
            "seed": cell.seed,
            "after_rounds": cell.after_rounds,
            **({"private": "kept"} if cell.after_rounds and cell.defense.keeps_private else {}),
            **{name: tables[name] for name in ("data", "model", "recipe", _trained_by(plan))},
        }
    )


def training_id(plan: Plan, defense: Defense, seed: int, fingerprint: str) -> str:
    """Return the content hash of one training: by the federation where the plan has one, else by the site alone."""
    tables = plain(plan)
    if plan.federation is not None:  # which says how many images there are in a round
        tables["recipe"]["batch_images"] = LocalTraining.batch_images
    return digest(
        {
            "images": fingerprint,
            "files": [_content(path) for path in defense.files()],
            "defense": plain_part("defenses", defense),
            "seed": seed,
            **{name: tables[name] for name in ("data", "model", "recipe", _trained_by(plan))},
        }
    )


def privacy_id(training: str, delta: float) -> str:
    """Return the content hash of what is proven for a federated training."""
    return digest({"training": training, "delta": delta})


def factors(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Return the columns that name a cell in every table."""
    return {
        "data": plan.data.name,
        "model": plan.model.name,
        "attack": label("attacks", cell.attack),
        "defense": label("defenses", cell.defense),
        "knowledge": cell.knowledge,
        "recipe": f"{_recipe(plan.agreed(cell.defense))}{_together(plan)}",
        "seed": cell.seed,
        "after_rounds": cell.after_rounds,
        "server": MALICIOUS if cell.attack.active else "honest",
    }


def _trained_by(plan: Plan) -> str:
    """Return the table that says how the model is trained, which reads classes from reconstructions."""
    return "utility" if plan.federation is None else "federation"


def _recipe(recipe: LocalTraining) -> str:
    steps = f" of {_counted(len(recipe.step_sizes(recipe.batch_images)), 'step')}" if recipe.share == "update" else ""
    return f"{recipe.share}{steps}, {_counted(recipe.batch_images, 'image')}, {recipe.mode} mode"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _together(plan: Plan) -> str:
    clients = plan.audit.aggregated_clients
    return f", mean of {clients} clients" if clients > 1 else ""


def _content(path: Path) -> str:
    """Return the SHA-256 of a file, or nothing if there is none to read; whoever needs it will say so."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
