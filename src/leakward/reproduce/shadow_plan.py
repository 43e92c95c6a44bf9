"""What the reproduction of the shadow defence runs: two sets, three sizes of batches, and how large all of it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakward.reproduce.paper import Scale

Table = Mapping[str, Any]
FORMS = ("published", "intended")
MEASURES = ("psnr", "ssim", "mse", "identified", "rdlv", "k_iip_1", "k_iip_3", "k_iip_5", "ssim_inside", "ssim_outside",
            "mse_inside", "mse_outside")  # fmt: skip
NETWORK, RESNET = "leakward.reproduce.shadow_network:network", "resnet18"
START = "ResNet-18"
"""The part in which the paper's network is attacked without training."""
BATCHES = (4, 4, 4, 4, 8, 8, 8, 8, 1)
"""Images per local step of each client, as in the paper."""
QUARTERS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Images:
    """One of the paper's two sets.

    Attributes:
        words: For tables.
        stand_in: Folder of what takes its place.
        own: Folder of the paper's own, which scale ``paper`` needs.
        psnr: By how many dB the defence lowers PSNR, by the abstract.
        ssim: By how much it lowers SSIM.
        noise: Sizes of random noise: what the defence adds to batches of four in their first round, in both forms, or
            one that is near to both.
        offset: As much brightness as it adds there, as intended.
    """

    words: str
    stand_in: str
    own: str
    psnr: float
    ssim: float
    noise: tuple[float, ...]
    offset: float


SETS: Mapping[str, Images] = {
    "chest": Images("chest X-ray", "chest_xray_covid", "covid_radiography", 3.73, 0.2, (0.06,), 0.036),
    "eye": Images("fundus", "retina_dr", "airogs", 2.78, 0.166, (0.03, 0.08), 0.042),
}


@dataclass(frozen=True)
class Attacked:
    """A part: which updates are attacked, and how.

    Attributes:
        client: Whose images.
        batch: Images of an update.
        quarters: Of the training, after which they are sent.
        attacks: Names in ``attacks``; those of one part are of different kinds.
        offset: Whether the brightness control is among the defences.
    """

    client: int
    batch: int
    quarters: tuple[int, ...]
    attacks: tuple[str, ...]
    offset: bool = False

    @property
    def name(self) -> str:
        """Return the name of the part."""
        return f"batch {self.batch}" + (", attack as published" if self.attacks == PUBLISHED else "")


ALL, PUBLISHED = ("matching", "gaussian", "generator"), ("matching as published",)
FULL = tuple(
    Attacked(client, batch, QUARTERS, attacks, offset=(batch, attacks) == (1, ALL))
    for attacks in (ALL, PUBLISHED)
    for client, batch in ((3, 1), (3, 4), (7, 8))
)
SOME = (
    Attacked(3, 1, QUARTERS, ALL, offset=True),
    Attacked(3, 4, (0, 2, 4), ALL),
    Attacked(3, 4, (0, 2, 4), PUBLISHED),
    Attacked(7, 8, (0, 4), ("matching", "gaussian")),
)
FEW = (
    Attacked(3, 1, (0, 4), ALL, offset=True),
    Attacked(3, 4, (4,), ("matching",)),
    Attacked(3, 4, (4,), PUBLISHED),
    Attacked(7, 8, (4,), ("matching",)),
)


@dataclass(frozen=True)
class Size:
    """How large everything is at one scale.

    Attributes:
        own: Whether the images are the paper's.
        model: That is trained.
        shares: Images of each client.
        side: Of the images, in pixels.
        rounds: Of training, a multiple of 4.
        learning_rate: Of the clients.
        attacked: Which updates.
        victims: Updates per cell.
        steps: Of the optimisation-based attacks.
        codes: Steps of the generator-based attack over codes; those over weights are twice as many.
        passes: Of the attacker's generator over public images.
        resnet: Steps of the attack on an undefended ResNet-18 at its start; 0 where it is trained anyway.
        shadow: Settings of the defence.
    """

    own: bool
    model: str
    shares: tuple[int, ...]
    side: int
    rounds: int
    learning_rate: float
    attacked: tuple[Attacked, ...]
    victims: int
    steps: int
    codes: int
    passes: int
    resnet: int
    shadow: Table = field(default_factory=dict)


SIZES: Mapping[Scale, Size] = {
    "quick": Size(False, NETWORK, (4, 4, 8, 16, 4, 4, 8, 16, 1), 32, 4, 0.05, FEW, 2, 3, 1, 1, 1,
                  {"iterations": 5, "latent_steps": 4}),
    "cpu": Size(False, NETWORK, (4, 8, 24, 64, 4, 8, 24, 64, 1), 32, 20, 0.05, SOME, 8, 150, 40, 50, 100),
    "paper": Size(True, RESNET, (8, 32, 128, 512, 8, 32, 128, 512, 1), 224, 100, 0.01, FULL, 8, 40_000, 5_000, 50, 0),
}  # fmt: skip


def plans(folder: str, images: Images, size: Size) -> Mapping[str, Table]:
    """Return the plans of one set by the name of the part; the first has every defence of the others."""
    common: dict[str, Any] = {
        "data": {"name": folder, "size": size.side, "clients": len(BATCHES), "shares": list(size.shares)},
        "model": {"name": size.model},
        "federation": {"rounds": size.rounds, "minibatches": list(BATCHES)},
    }
    found: dict[str, Table] = {
        one.name: common
        | {
            "recipe": _recipe(size, one.batch),
            "audit": _audit(size, one.client, ["rdlv", "k_iip", "region"])
            | {"after_rounds": [quarter * size.rounds // 4 for quarter in one.quarters]},
            "attack": [attacks(size.steps, size.codes, size.passes)[name] for name in one.attacks],
            "defense": defenses(images, size, offset=one.offset),
        }
        for one in size.attacked
    }
    if size.resnet:
        found[START] = {
            **{name: table for name, table in common.items() if name != "federation"},
            "model": {"name": RESNET},
            "recipe": _recipe(size, 1),
            "audit": _audit(size, 3, ["rdlv"]) | {"victims": size.victims // 2},
            "utility": {"epochs": 0},
            "attack": [attacks(size.resnet, size.codes, size.passes)["matching"]],
        }
    return found


def short(defense: str) -> str:
    """Return a name for tables of a defence of these plans."""
    name, _, settings = defense.partition("(")
    if name == "shadow-defense":
        return f"shadow, {FORMS['form=intended' in settings]}"
    size = re.search(r"relative_(?:rms|offset)=([0-9.]+)", settings)
    return f"{name} {size[1]}" if size else name


def attacks(steps: int, codes: int, passes: int) -> dict[str, Table]:
    """Return the attacks by what they are called here."""
    matching = {"name": "fl-gradient-inversion", "iterations": steps}
    return {
        "matching": matching,
        "matching as published": matching | {"form": "published"},
        "gaussian": {"name": "gaussian-prior", "iterations": steps},
        "generator": {"name": "gias", "iterations": codes, "passes": passes},
    }


def defenses(images: Images, size: Size, *, offset: bool) -> list[Table]:
    """Return both forms of the defence, and random noise and brightness as controls."""
    grown = {"rounds": size.rounds}
    shadow = {"name": "shadow-defense", "shadow_rounds": max(1, size.rounds // 5), **grown, **size.shadow}
    return [
        *(shadow | {"form": form} for form in FORMS),
        *({"name": "random-pixel-noise", "relative_rms": rms, **grown} for rms in images.noise),
        *([{"name": "brightness-offset", "relative_offset": images.offset}] if offset else []),
    ]


def _recipe(size: Size, batch: int) -> Table:
    return {"share": "update", "batch_images": batch, "mode": "train", "learning_rate": size.learning_rate}


def _audit(size: Size, client: int, measures: list[str]) -> dict[str, Any]:
    return {
        "client": client,
        "victims": size.victims,
        "knowledge": ["aware"],
        "labels": "granted",
        "measures": measures,
    }
