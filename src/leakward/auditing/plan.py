"""A ``Plan``: everything an audit is asked to do, in one TOML file."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from leakward import registry
from leakward.attacks import Attack
from leakward.auditing.parts import idle_part, label, plain_part, read_parts
from leakward.errors import DefenseError, PlanError
from leakward.federated import Defense, LocalTraining, NoDefense, agreed_recipe
from leakward.federated.agreement import require_images, require_step_images
from leakward.settings import parse, plain_fields
from leakward.threat import Knowledge
from leakward.training import DataSettings, FederationSettings, ModelSettings


@dataclass(frozen=True)
class AuditSettings:
    """The ``[audit]`` table.

    Attributes:
        victims: Updates attacked per cell and seed, at least 1; each holds ``recipe.batch_images`` images
            of every aggregated client, or as many as a defence makes of them.
        seeds: Independent repetitions, each with weights, victims and randomness of its own.
        knowledge: Levels at which every defence is attacked.
        labels: Whether labels are ``inferred`` by the attacker or ``granted``.
        public_images: Public images that the attacker holds, at most; 0 for none.
        aggregated_clients: Clients whose messages come together by secure aggregation, at least 1; the attacker sees
            their mean alone. Each holds ``recipe.batch_images`` images of the site.
        images: Whether pictures are kept in the run folder and shown in the report.
        confidence: Of intervals, in (0, 1).
    """

    victims: int = 8
    seeds: tuple[int, ...] = (0,)
    knowledge: tuple[Knowledge, ...] = ("unaware", "aware")
    labels: Literal["inferred", "granted"] = "inferred"
    public_images: int = 1000
    aggregated_clients: int = 1
    images: bool = True
    confidence: float = 0.95


@dataclass(frozen=True)
class UtilitySettings:
    """The ``[utility]`` table: how accuracy with each defence is measured, if there is no ``[federation]``.

    Attributes:
        epochs: Passes over the site's images; 0 leaves utility out, that of a federation as well.
        batch_size: Images of a round, in the place of ``recipe.batch_images``.
        optimizer: Applied to the gradients that the client sends; what it sends after local steps is subtracted.
        learning_rate: Of that optimiser.
        train_images: At most this many of the site's images; 0 means all.
        delta: At which epsilon is stated, where a defence proves one.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: Literal["sgd", "adam"] = "adam"
    learning_rate: float = 1e-3
    train_images: int = 0
    delta: float = 1e-5


@dataclass(frozen=True)
class Plan:
    """What to audit; equal plans give equal tables.

    Attributes:
        data: Where the images come from.
        model: Which network.
        recipe: What a client does in a round.
        audit: How many victims, seeds and levels of knowledge.
        utility: How accuracy is measured.
        federation: How all clients train together; None where the site trains alone.
        attacks: At least one; the ensemble where a plan names none.
        defenses: ``NoDefense`` is always among them and comes first: it is the positive control.
    """

    data: DataSettings
    model: ModelSettings
    recipe: LocalTraining
    audit: AuditSettings
    utility: UtilitySettings
    federation: FederationSettings | None
    attacks: tuple[Attack, ...]
    defenses: tuple[Defense, ...]

    def agreed(self, defense: Defense) -> LocalTraining:
        """Return the recipe of an attacked round with ``defense``."""
        return agreed_recipe(self.recipe, defense)

    def trained(self, defense: Defense, count: int) -> LocalTraining:
        """Return the recipe of a round for utility with ``defense``, at a site that trains on ``count`` images."""
        return agreed_recipe(replace(self.recipe, batch_images=min(self.utility.batch_size, count)), defense)

    def images_per_update(self, defense: Defense) -> int:
        """Return how many images are behind what the attacker sees of one round with ``defense``."""
        return self.agreed(defense).batch_images * self.audit.aggregated_clients


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
        problems += _out_of_range(made)
    made["attacks"] = tuple(dict.fromkeys(made["attacks"]))
    made["defenses"] = (NoDefense(), *(d for d in dict.fromkeys(made["defenses"]) if d != NoDefense()))
    if not problems:
        problems += _impossible(Plan(**made))
    if problems:
        raise PlanError("the plan has problems:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return Plan(**made)


def plain(plan: Plan) -> dict[str, Any]:
    """Return a plan as the plain tables it can be made from again, every default written out."""
    tables = {name: plain_fields(table) for name in TABLES if (table := getattr(plan, name)) is not None}
    tables["data"] = {key: value for key, value in tables["data"].items() if value is not None}
    return tables | {
        "model": {"name": plan.model.name, **plan.model.options},
        "attack": [plain_part("attacks", attack) for attack in plan.attacks],
        "defense": [plain_part("defenses", defense) for defense in plan.defenses],
    }


def require_trainable(plan: Plan, defense: Defense, count: int | None = None) -> None:
    """Raise ``DefenseError`` if a site cannot train alone for utility, with ``defense``, as the plan wants it to.

    Args:
        plan: It belongs to.
        defense: Of the plan.
        count: Images that the site trains on; None as long as they are not known.
    """
    size = plan.utility.batch_size
    if not plan.utility.epochs or plan.federation is not None:
        return
    try:
        recipe = plan.trained(defense, count or size)
        held = count or recipe.batch_images
        require_images(recipe, defense, min(held, recipe.batch_images))
        if rest := held % recipe.batch_images:
            require_step_images(recipe, defense, rest)
    except DefenseError as error:
        raise DefenseError(f"[utility] batch_size = {size}: {error}") from error


def _impossible(plan: Plan) -> list[str]:
    """Return why the plan cannot have some of its defences, because of the recipe or of the images that it takes."""
    problems: list[str] = []
    for defense in plan.defenses[1:]:
        try:
            _require_possible(plan, defense)
        except DefenseError as error:
            problems.append(f"[[defense]] {label('defenses', defense)}: {error}")
    return problems


def _require_possible(plan: Plan, defense: Defense) -> None:
    recipe, most = plan.agreed(defense), plan.data.site_images
    if idle := idle_part(defense, plan.recipe):
        raise DefenseError(
            f"{type(idle).__name__}: expected to change the recipe, which has as much already; ask for more"
        )
    require_images(recipe, defense, recipe.batch_images)
    images = plan.audit.victims * plan.images_per_update(defense)
    if images > most:
        raise DefenseError(
            f"expected at most {most} images in all, got {images}; lower victims, batch_images or aggregated_clients, "
            "or raise site_images"
        )
    require_trainable(plan, defense)


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


def _out_of_range(made: Mapping[str, Any]) -> list[str]:
    data, audit, utility = made["data"], made["audit"], made["utility"]
    images = audit.victims * made["recipe"].batch_images * audit.aggregated_clients
    rules = (
        ("[data] clients", data.clients, "at least 1", data.clients >= 1),
        ("[data] alpha", data.alpha, "a finite number of at least 0", 0 <= data.alpha < math.inf),
        ("[data] size", data.size, "at least 1", data.size is None or data.size >= 1),
        ("[data] count", data.count, "at least 1", data.count is None or data.count >= 1),
        ("[data] site_images", data.site_images, "at least 2", data.site_images >= 2),
        ("[audit] victims", audit.victims, "at least 1", audit.victims >= 1),
        ("[audit] victims", audit.victims, f"at most {data.site_images} images in all, not {images}; lower victims, "
         "batch_images or aggregated_clients, or raise site_images", images <= data.site_images),
        ("[audit] aggregated_clients", audit.aggregated_clients, "at least 1", audit.aggregated_clients >= 1),
        ("[audit] public_images", audit.public_images, "at least 0", audit.public_images >= 0),
        ("[audit] seeds", audit.seeds, "at least one, all different", 0 < len(set(audit.seeds)) == len(audit.seeds)),
        ("[audit] knowledge", audit.knowledge, "at least 'aware', all different", "aware" in audit.knowledge
         and len(set(audit.knowledge)) == len(audit.knowledge)),
        ("[audit] confidence", audit.confidence, "a number in (0, 1)", 0 < audit.confidence < 1),
        ("[utility] epochs", utility.epochs, "at least 0", utility.epochs >= 0),
        ("[utility] batch_size", utility.batch_size, "at least 1", utility.batch_size >= 1),
        ("[utility] learning_rate", utility.learning_rate, "a positive number", 0 < utility.learning_rate < math.inf),
        ("[utility] train_images", utility.train_images, "at least 0", utility.train_images >= 0),
        ("[utility] delta", utility.delta, "a number in (0, 1)", 0 < utility.delta < 1),
    )  # fmt: skip
    return [f"{place}: expected {expected}, got {value!r}" for place, value, expected, ok in rules if not ok]
