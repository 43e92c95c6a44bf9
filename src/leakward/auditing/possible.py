"""What cannot be asked for: values out of range, and defences that the rest of a plan leaves no room for."""

import math
from collections.abc import Mapping
from typing import Any

from leakward.auditing.tables import Plan
from leakward.errors import DefenseError
from leakward.federated import Defense
from leakward.federated.agreement import require_images, require_step_images
from leakward.parts import idle_part, label


def impossible(plan: Plan) -> list[str]:
    """Return why the plan cannot be followed, though each of its values is in range."""
    return [*_too_late(plan), *_without_room(plan)]


def out_of_range(made: Mapping[str, Any]) -> list[str]:
    """Return which values of the tables ``made`` are out of range."""
    data, audit, utility = made["data"], made["audit"], made["utility"]
    sizes = made["federation"] and made["federation"].minibatches
    images = audit.victims * made["recipe"].batch_images * audit.aggregated_clients
    rules = (
        ("[data] clients", data.clients, "at least 1", data.clients >= 1),
        ("[data] alpha", data.alpha, "a finite number of at least 0", 0 <= data.alpha < math.inf),
        ("[data] shares", data.shares, f"{data.clients} numbers of at least 1, as [data] clients says, and no alpha",
         data.shares is None or (len(data.shares) == data.clients and min(data.shares) >= 1 and not data.alpha)),
        ("[data] size", data.size, "at least 1", data.size is None or data.size >= 1),
        ("[data] count", data.count, "at least 1", data.count is None or data.count >= 1),
        ("[data] site_images", data.site_images, "at least 2", data.site_images >= 2),
        ("[audit] client", audit.client, f"at least 0 and below [data] clients = {data.clients}",
         0 <= audit.client < max(data.clients, 1)),
        ("[audit] victims", audit.victims, "at least 1", audit.victims >= 1),
        ("[audit] victims", audit.victims, f"at most {data.site_images} images in all, not {images}; lower victims, "
         "batch_images or aggregated_clients, or raise site_images", images <= data.site_images),
        ("[audit] aggregated_clients", audit.aggregated_clients, "at least 1", audit.aggregated_clients >= 1),
        ("[audit] public_images", audit.public_images, "at least 0", audit.public_images >= 0),
        ("[audit] seeds", audit.seeds, "at least one, all different", 0 < len(set(audit.seeds)) == len(audit.seeds)),
        ("[audit] after_rounds", audit.after_rounds, "at least one number, all different and at least 0",
         0 < len(set(audit.after_rounds)) == len(audit.after_rounds) and min(audit.after_rounds) >= 0),
        ("[audit] knowledge", audit.knowledge, "at least 'aware', all different", "aware" in audit.knowledge
         and len(set(audit.knowledge)) == len(audit.knowledge)),
        ("[audit] confidence", audit.confidence, "a number in (0, 1)", 0 < audit.confidence < 1),
        ("[federation] minibatches", sizes, f"{data.clients} numbers, as [data] clients says",
         sizes is None or len(sizes) == data.clients),
        ("[audit] measures", audit.measures, "all different", len(set(audit.measures)) == len(audit.measures)),
        ("[audit] measures", audit.measures, "none of k_iip and region where [utility] epochs is 0, for they need a "
         "trained network", utility.epochs > 0 or not {"k_iip", "region"} & {*audit.measures}),
        ("[utility] epochs", utility.epochs, "at least 0", utility.epochs >= 0),
        ("[utility] batch_size", utility.batch_size, "at least 1", utility.batch_size >= 1),
        ("[utility] learning_rate", utility.learning_rate, "a positive number", 0 < utility.learning_rate < math.inf),
        ("[utility] train_images", utility.train_images, "at least 0", utility.train_images >= 0),
        ("[utility] delta", utility.delta, "a number in (0, 1)", 0 < utility.delta < 1),
    )  # fmt: skip
    return [f"{place}: expected {expected}, got {value!r}" for place, value, expected, ok in rules if not ok]


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


def _without_room(plan: Plan) -> list[str]:
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
    if idle := idle_part(defense, plan.local):
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


def _too_late(plan: Plan) -> list[str]:
    """Return whether an update is asked for after more rounds than there are."""
    asked, last = plan.audit.after_rounds, plan.training_rounds
    if max(asked) <= last:
        return []
    cure = "raise [federation] rounds or [utility] epochs"
    return [f"[audit] after_rounds: expected at most {last}, the rounds of training, got {asked!r}; {cure}"]
