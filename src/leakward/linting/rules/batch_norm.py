"""BatchNorm in the networks of an app: in its own layers, and in those of torchvision and MONAI."""

import ast
from collections.abc import Iterable, Iterator
from typing import Any

from leakward.linting.python import Source
from leakward.linting.values import Made, is_of, last, word

LAYERS = (*(f"{lazy}BatchNorm{size}d" for lazy in ("", "Lazy") for size in (1, 2, 3)), "SyncBatchNorm")
COUNTS = {"resnet18": 20, "resnet34": 36, "resnet50": 53, "resnet101": 104, "resnet152": 155, "densenet121": 121}
"""Layers of BatchNorm, for networks that torchvision and MONAI both have."""
NETWORKS = {
    "torchvision": ("resnet", "wide_resnet", "resnext", "densenet", "mobilenet", "efficientnet", "mnasnet",
                    "shufflenet", "googlenet", "inception", "regnet"),
    "monai": ("resnet", "densenet", "seresn", "senet", "efficientnet", "vnet", "ahnet", "attentionunet",
              "highresnet", "flexibleunet", "regunet"),
}  # fmt: skip
"""How the names of networks with BatchNorm begin in each package, in small letters."""
HIDDEN = ("timm.", "torch.hub.", "transformers.", "segmentation_models_pytorch.")
"""Packages of networks that are not known here."""
CHOICES = ("norm", "norm_type", "norm_layer")
"""Arguments by which a network is given a normalisation."""


def batch_norms(sources: Iterable[Source]) -> str:
    """Return what has BatchNorm with step counters, and where; empty if nothing is seen to have any."""
    found = [words for source in sources for made in source.calls if (words := _norm(made))]
    return found[0] if found else ""


def network_seen(sources: tuple[Source, ...]) -> bool:
    """Return whether the app makes its network where it can be read."""
    calls = [made for source in sources for made in source.calls]
    if any(made.name.startswith(HIDDEN) for made in calls):
        return False
    known = any(made.name.startswith(("torchvision.models.", "monai.networks.", "torch.nn.")) for made in calls)
    return known or any(_is_module(source, node) for source in sources for node in source.all(ast.ClassDef))


def _norm(made: Made) -> str:
    where = f"in line {made.place.line} of {made.place.path.as_posix()}"
    if made.of("torch.nn", *LAYERS) and made.setting("track_running_stats", default=True) is not False:
        return f"{last(made.name)} {where}"
    name = last(made.name).lower()
    for package, begins in NETWORKS.items():
        if made.name.startswith(f"{package}.") and (_has_chosen(made) if _chooses(made) else _begins(name, begins)):
            count = f", {COUNTS[name]} step counters," if name in COUNTS and not _chooses(made) else ""
            return f"{last(made.name)} of {package}{count} {where}"
    return ""


def _begins(name: str, begins: tuple[str, ...]) -> bool:
    return name.startswith(begins) or (name.startswith("vgg") and name.endswith("_bn"))


def _chooses(made: Made) -> bool:
    return any(name in made.keywords for name in CHOICES)


def _has_chosen(made: Made) -> bool:
    """Return whether the normalisation that a network is given is BatchNorm for certain."""
    return any("batch" in said.lower() for name in CHOICES for said in _words(made.keywords.get(name)))


def _words(value: Any) -> Iterator[str]:
    """Return the words of a normalisation such as ``("batch", {...})``, ``Norm.BATCH`` or ``nn.BatchNorm2d``."""
    items: list[Any] = value if isinstance(value, list) else [value]
    yield from (found for item in items if (found := word(item)) is not None)


def _is_module(source: Source, node: ast.ClassDef) -> bool:
    names = [source.name(base) or "" for base in node.bases]
    return any(is_of(name, "torch.nn", "Module", "Sequential") or last(name) == "LightningModule" for name in names)
