"""What the reproduction of MedPFL runs: three sets of images, four attacks, noise and training, and how large it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leakward.reproduce.paper import Scale

Table = Mapping[str, Any]
SETS = {"skin_isic": "melanoma", "chest_xray_covid": "COVID-19 X-ray", "brain_mri": "brain MRI"}
OWN: Mapping[str, Table] = {
    "cpl": {"name": "lenet", "channels": 16, "convolutions": 6, "halving": 0, "kernel": 2},
    "dlg": {"name": "lenet", "convolutions": 4},
    "idlg": {"name": "lenet"},
}
"""The network of each attack's notebook."""
GRADINV = "inverting-gradients"
ATTACKS = (*OWN, GRADINV)
NOISE = (0.0025, 0.00333, 0.005, 0.01)
"""Scales of Laplace noise in the paper."""
BEYOND = (0.03, 0.1, 0.3)
"""Larger ones, to see from where on it protects."""
GAUSSIAN = 0.01
"""Standard deviation of Gaussian noise, for comparison."""


@dataclass(frozen=True)
class Size:
    """How large everything is at one scale.

    Attributes:
        victims: Images per cell.
        evaluations: Of CPL, DLG and iDLG; of every attack on the common network.
        iterations: Of Inverting Gradients on ResNet-18.
        side: Of the images of ResNet-18, in pixels.
        epochs: Of training ResNet-18.
        progress: Epochs of a LeNet after which it is attacked.
    """

    victims: int
    evaluations: int
    iterations: int
    side: int
    epochs: int
    progress: tuple[int, ...]


SIZES: Mapping[Scale, Size] = {
    "quick": Size(2, 8, 4, 32, 1, (0, 1)),
    "cpu": Size(16, 1200, 60, 32, 5, (0, 1, 4, 16)),
    "paper": Size(100, 6000, 24_000, 224, 50, (0, 1, 2, 4, 8, 16, 32)),
}


def plans(folder: str, size: Size) -> dict[str, Table]:
    """Return the plans of the set in ``folder`` by the name of the part."""
    searches = {name: {"name": name, "evaluations": size.evaluations} for name in OWN}
    inverting = {"name": GRADINV, "iterations": size.iterations, "total_variation": 1e-4}

    def plan(
        model: Table,
        attacks: list[Table],
        *,
        pixels: int = 32,
        audit: Table | None = None,
        utility: Table | None = None,
        defense: Sequence[Table] = (),
    ) -> Table:
        return {
            "data": {"name": folder, "size": pixels},
            "model": model,
            "audit": {"victims": size.victims, "knowledge": ["aware"], **(audit or {})},
            "utility": {"epochs": 0, **(utility or {})},
            "attack": attacks,
            "defense": list(defense),
        }

    noise = [{"name": "laplacian-noise", "scale": scale} for scale in (*NOISE, *BEYOND)]
    trained = {"epochs": max(size.progress), "batch_size": 32, "learning_rate": 0.01}
    return {
        **{name: plan(OWN[name], [searches[name]]) for name in OWN},
        GRADINV: plan(
            {"name": "resnet18"},
            [inverting],
            pixels=size.side,
            audit={"labels": "granted", "after_rounds": [0, size.epochs]},
            utility={"epochs": size.epochs},
        ),
        "common": plan(OWN["idlg"], [*searches.values(), inverting | {"iterations": size.evaluations}]),
        "noise": plan(
            OWN["dlg"],
            [searches["cpl"]],
            defense=[*noise, {"name": "gaussian-noise", "std": GAUSSIAN}, {"name": "pruning", "ratio": 0.9}],
        ),
        "training": plan(OWN["dlg"], [searches["cpl"]], audit={"after_rounds": list(size.progress)}, utility=trained),
    }
