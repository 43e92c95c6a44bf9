"""One cell: the client sends, the attacker recovers, and what it recovered is scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leakward.attacks import Reconstruction, Status
from leakward.auditing.cell import Cell
from leakward.auditing.reader import Reader
from leakward.auditing.site import Site
from leakward.auditing.tables import Plan
from leakward.federated import Defense, NoDefense, Round
from leakward.metrics import Moments, ScoringContext, assign, class_scores, score
from leakward.models import Task
from leakward.pace import clock
from leakward.streams import stream
from leakward.threat import ThreatModel, examine, observe
from leakward.types import Tensors


@dataclass(frozen=True, eq=False)
class Attacked:
    """What one cell leaves behind.

    Attributes:
        facts: Plain values: status, number of images, seconds, the doctor's checks, and one row of scores per image and
            measure.
        pictures: Originals and reconstructions as 8-bit images (v c h w), black where the attack failed.
    """

    facts: dict[str, Any]
    pictures: Tensors


NOTHING_SENT = Attacked(
    {"status": "diverged", "victims": 0, "seconds": 0.0, "members": [], "checks": [], "scores": [], "class_f1": None},
    {},
)
"""Of a cell whose training did not come so far that an update could be attacked."""


def attack_victims(
    plan: Plan,
    site: Site,
    part: str,
    cell: Cell,
    defense: Defense,
    start: tuple[Task, Tensors, Tensors | None],
    gallery: Moments,
    reader: Reader | None,
    progress: Callable[[float], None],
) -> Attacked:
    """Attack every victim of a cell.

    Args:
        plan: It belongs to.
        site: Whose images are attacked.
        part: Id of the cell.
        cell: Attack, knowledge and seed. The attacker's randomness follows from attack and seed alone, so that cells
            which differ in defence or knowledge start alike and can be compared victim by victim.
        defense: Of the cell, fitted on the site's images.
        start: Network and weights that the server has, and the defence's helpers that the client has kept.
        gallery: Of the site.
        reader: Of images, or None.
        progress: Called with the fraction done.
    """
    begin = clock()
    own = repr(cell.attack), cell.seed
    public = site.public(plan.audit.public_images)
    task, state, private = start
    task, state = cell.attack.plant(task, state, public, stream("server", *own))
    rounds = site.rounds(plan, defense, cell.seed, task, state, private)
    granted, together = plan.audit.labels == "granted", plan.audit.aggregated_clients
    threat = ThreatModel(cell.knowledge, labels=granted, public=public is not None, clients=together)
    observations = [observe(round_, threat, public) for round_ in rounds]
    found = cell.attack.recover(observations, stream("attack", *own), progress)
    checked = observations if cell.defense == NoDefense() and not cell.attack.active else []
    facts = {
        "status": _status(found),
        "victims": sum(len(round_.batch) for round_ in rounds),
        "seconds": clock() - begin,
        "members": [guess.member for guess in found] if any(guess.member for guess in found) else [],
        "checks": [[check.name, check.passed, check.finding] for seen in checked for check in examine(seen)],
        "scores": _scores(plan, site, part, cell, rounds, found, gallery, reader),
        "class_f1": _class_f1(site, rounds, found, reader),
    }
    return Attacked(facts, _pictures(rounds, found))


def _scores(
    plan: Plan,
    site: Site,
    part: str,
    cell: Cell,
    rounds: Sequence[Round],
    found: Sequence[Reconstruction],
    gallery: Moments,
    reader: Reader | None,
) -> list[tuple[str, int, str, float]]:
    rows: list[tuple[str, int, str, float]] = []
    std = site.task.spec.std or (1.0,) * site.data.image_shape[0]
    victims, mean_image = site.victims(plan, cell.defense, cell.seed), site.mean_image
    asked = plan.audit.measures
    classifier, known = (reader.classes, reader.known) if reader else (None, None)
    for number, (round_, guess) in enumerate(zip(rounds, found, strict=True)):
        if guess.images is None or guess.labels is None:
            continue
        batch = round_.batch
        region = reader.region(batch.images.cpu(), batch.labels.cpu()) if reader and "region" in asked else None
        context = ScoringContext(gallery, victims[number], mean_image, std, classifier, asked, known, region)
        scores = score(batch.images.cpu(), batch.labels.cpu(), guess.images.cpu(), guess.labels.cpu(), context)
        for name, values in scores.items():
            rows += [(part, i * len(rounds) + number, name, float(value)) for i, value in enumerate(values)]
    return rows


def _class_f1(
    site: Site, rounds: Sequence[Round], found: Sequence[Reconstruction], reader: Reader | None
) -> float | None:
    """Return the macro F1 of the classes that ``reader`` reads from the reconstructions, or None."""
    pairs = [
        (round_.batch.labels.cpu(), images)
        for round_, guess in zip(rounds, found, strict=True)
        if (images := _assigned(round_, guess)) is not None
    ]
    if reader is None or not pairs:
        return None
    labels, images = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return class_scores(reader.classes(images).cpu(), labels, len(site.data.classes)).f1_macro


def _status(found: Sequence[Reconstruction]) -> str:
    """Return ``ok``, the common failure, or how many victims ended well."""
    kinds = {guess.status for guess in found}
    if len(kinds) == 1:
        return str(kinds.pop())
    return f"{sum(guess.status == Status.OK for guess in found)} of {len(found)} ok"


def _pictures(rounds: Sequence[Round], found: Sequence[Reconstruction]) -> Tensors:
    originals = [round_.batch.images.cpu() for round_ in rounds]
    assigned = [_assigned(round_, guess) for round_, guess in zip(rounds, found, strict=True)]
    guesses = [
        torch.zeros_like(original) if images is None else images
        for original, images in zip(originals, assigned, strict=True)
    ]
    return {"originals": _bytes(originals), "reconstructions": _bytes(guesses)}


def _assigned(round_: Round, guess: Reconstruction) -> Tensor | None:
    """Return the reconstructions in the order of the private images that they are matched to, or None."""
    if guess.images is None:
        return None
    images = guess.images.cpu()
    return images[assign(round_.batch.images.cpu(), images)]


def _bytes(updates: Sequence[Tensor]) -> Tensor:
    """Return the first image of every update, then the second of every one, and so on: in the order of the victims."""
    images = torch.stack([*updates], dim=1).flatten(0, 1)
    return (images * 255).round().to(torch.uint8).contiguous()
