"""What the reproduction of learnable perturbation runs: two sets of images, every defence, and how large it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leakward.reproduce.paper import Scale

Table = Mapping[str, Any]
DATA = {"cifar10": "CIFAR-10", "bloodmnist": "BloodMNIST"}
PAIRS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "cifar10": ((2.0, 10.0), (1.0, 10.0), (0.5, 10.0), (0.1, 3.0), (0.5, 20.0), (0.1, 5.0)),
    "bloodmnist": ((1.0, 5.0), (0.5, 5.0), (0.1, 2.0), (0.1, 3.0), (0.1, 4.0), (0.1, 5.0)),
}
"""BiDO's coefficients of inputs and labels."""
PAPERS = {"name": "inverting-gradients", "total_variation": 1e-6}
STRONG = {"name": "gaussian-prior"}
"""Attacks: the paper's, and one that comes close in few steps, with public images."""
THEIRS = {"name": "convnet", "width": 64}
SLOW = {"learning_rate": 0.01}


@dataclass(frozen=True)
class Size:
    """How large everything is at one scale.

    Attributes:
        model: Table of the network.
        recipe: What the local steps are like.
        attacks: Their tables, steps and starts included; the first is the strongest.
        batch_images: Of an update; 8 in the paper.
        victims: Updates per cell.
        epochs: Of training; the updates of the trained network are sent after them.
        batch_size: Of training.
        train_images: That the site trains on, at most; 0 means all.
        pretrain_epochs: Of learned noise.
        means: Of fixed noise.
        multipliers: Of DP-SGD's noise.
        pairs: How many of BiDO's pairs.
    """

    model: Table
    recipe: Table
    attacks: tuple[Table, ...]
    batch_images: int
    victims: int
    epochs: int
    batch_size: int
    train_images: int
    pretrain_epochs: int
    means: tuple[float, ...]
    multipliers: tuple[float, ...]
    pairs: int


SIZES: Mapping[Scale, Size] = {
    "quick": Size(THEIRS | {"width": 4}, SLOW, (PAPERS | {"iterations": 10},), 8, 2, 1, 128, 256, 1, (1.0,), (0.1,), 1),
    "cpu": Size({"name": "cnn6", "width": 6}, SLOW | {"momentum": 0.9},
                (STRONG | {"iterations": 100}, PAPERS | {"iterations": 100}), 2, 10, 5, 16, 1500, 3, (0.0, 0.25, 1.0),
                (0.01, 0.1, 1.0), 3),
    "paper": Size(THEIRS, SLOW, (PAPERS | {"iterations": 24_000, "restarts": 8},), 8, 10, 200, 128, 0, 200,
                  (0.0, 0.5, 1.0, 1.5, 2.0, 3.0), (0.001, 0.01, 0.03, 0.1, 0.3, 1.0), 6),
}  # fmt: skip


def plan(name: str, size: Size) -> Table:
    """Return the plan of one set."""
    perturbation = {"name": "learnable-perturbation"}
    return {
        "data": {"name": name},
        "model": size.model,
        "recipe": {"share": "update", "batch_images": size.batch_images, "epochs": 5, **size.recipe},
        "audit": {
            "victims": size.victims,
            "labels": "granted",
            "public_images": 1000 if size.attacks[0]["name"] == STRONG["name"] else 0,
            "after_rounds": [0, size.epochs],
        },
        "utility": {"epochs": size.epochs, "batch_size": size.batch_size, "train_images": size.train_images},
        "attack": [*size.attacks],
        "defense": [
            *({"name": "dp-sgd", "noise_multiplier": noise} for noise in size.multipliers),
            *({"name": "bido", "input_coefficient": x, "label_coefficient": y} for x, y in PAIRS[name][: size.pairs]),
            *(perturbation | {"mean": mean} for mean in size.means),
            perturbation | {"noise": "learned", "pretrain_epochs": size.pretrain_epochs},
            {
                "name": "chain",
                "parts": [
                    perturbation | {"mean": size.means[0]},
                    {"name": "dp-sgd", "noise_multiplier": size.multipliers[0]},
                ],
            },
        ],
    }
