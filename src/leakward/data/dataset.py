"""The ``Dataset`` noun and the checks every loader ends with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.errors import DataError

Constants = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images of one source, with what a report must say about them.

    Attributes:
        name: Registry name or the path's last part; never a patient identifier.
        images: In [0, 1].
        labels: Class indices in ``0 .. k-1``.
        classes: One name per class.
        splits: Disjoint index tensors named ``train`` (the site's private images), ``val`` (public
            images, disjoint from the site's) and ``test`` (for utility).
        licence: Of the data, as its publisher states it.
        citation: Whom to cite.
        patients: One opaque number per image where the source knows patients.
        mean: Per-channel mean a model normalises with; a public constant, not a statistic of this site.
        std: Per-channel standard deviation a model normalises with.
    """

    name: str
    images: Float[Tensor, "n c h w"]
    labels: Int[Tensor, " n"]
    classes: tuple[str, ...]
    splits: Mapping[str, Int[Tensor, " _"]]
    licence: str
    citation: str = ""
    patients: Int[Tensor, " n"] | None = None
    mean: Constants = field(default=())
    std: Constants = field(default=())

    def __post_init__(self) -> None:
        check(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (c, h, w)."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    def subset(self, split: str) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Return the images and labels of one split."""
        index = self.splits[split]
        return self.images[index], self.labels[index]


def check(dataset: Dataset) -> None:
    """Raise ``DataError`` with one sentence if the parts of ``dataset`` do not fit together."""
    name, images, labels = dataset.name, dataset.images, dataset.labels
    if len(images) == 0:
        raise DataError(f"data {name!r}: expected at least one image, got none; check the path")
    if len(images) != len(labels):
        found = f"{len(images)} images and {len(labels)} labels"
        raise DataError(f"data {name!r}: expected one label per image, got {found}")
    if not torch.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise DataError(f"data {name!r}: expected finite pixel values in [0, 1]; rescale the images")
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"data {name!r}: expected labels 0 to {len(dataset.classes) - 1}, got {found}")
    if set(dataset.splits) != {"train", "val", "test"}:
        raise DataError(f"data {name!r}: expected the splits train, val and test, got {sorted(dataset.splits)}")
    joined = torch.cat(list(dataset.splits.values()))
    if len(joined.unique()) != len(joined):
        raise DataError(f"data {name!r}: expected disjoint splits, but some image is in two of them")
