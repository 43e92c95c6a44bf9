"""A folder of images with one sub-folder per class, as a site has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from leakward.data.dataset import Dataset
from leakward.data.files import existing
from leakward.data.partition import carve
from leakward.data.pixels import is_picture, read_square, stack
from leakward.errors import DataError
from leakward.types import generator

SPLITS = ("train", "val", "test")
LAYOUT = "<root>/<class>/<image> or <root>/{train,val,test}/<class>/<image>"
SIZE = 32
CARVED = 0.2


class Item(NamedTuple):
    """One image file; its name is used for reading and in errors, and goes no further."""

    file: Path
    label: int
    split: str


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, in alphabetical order, and the names of their classes."""

    items: list[Item]
    classes: tuple[str, ...]


def load(
    name: str, *, path: str | Path | None = None, size: int | None = None, count: int | None = None, seed: int = 0
) -> Dataset:
    """Load ``<root>/<class>/<image>`` or ``<root>/{train,val,test}/<class>/<image>``.

    Images are squashed to a square (bicubic, antialiased) and stay grey if every file is. Missing ``val`` and ``test``
    are 20 % of ``train`` each. Hidden files are ignored; any other file in a class folder must be an image.

    Args:
        name: Of the data set in reports.
        path: The root.
        size: Height and width; 32 if None.
        count: At most so many images, drawn from all splits together.
        seed: Of the draw and of the images set aside.

    Raises:
        DataError: If the folder has another layout, or a file is not an image; the message names it.
    """
    if path is None:
        raise DataError(f"data {name!r}: expected the path of a folder {LAYOUT}, got none; set path")
    size = SIZE if size is None else size
    if size < 1 or (count is not None and count < 1):
        raise DataError(f"data {name!r}: expected a positive size and count, got {size} and {count}; correct them")
    rng, root = generator(seed), existing(path)
    listing = _list(root)
    order = torch.randperm(len(listing.items), generator=rng)[:count].sort().values
    items = [listing.items[i] for i in order.tolist()]
    images = stack([read_square(item.file, size) for item in items])
    channels = images.shape[1]
    return Dataset(
        name=name,
        images=images,
        labels=torch.tensor([item.label for item in items]),
        classes=listing.classes,
        splits=_split(root, items, {item.split for item in listing.items}, rng),
        licence="as stated by the owner of the folder",
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )


def _list(root: Path) -> Listing:
    folders = {folder.name: folder for folder in _visible(root) if folder.is_dir()}
    roots = folders if folders and set(folders) <= set(SPLITS) else {"train": root}
    if "train" not in roots:
        raise DataError(f"{root}: expected a folder train beside {', '.join(sorted(roots))}; use {LAYOUT}")
    classes = tuple(folder.name for folder in _class_folders(roots["train"]))
    items: list[Item] = []
    for split in SPLITS:
        for folder in _class_folders(roots[split]) if split in roots else []:
            items += [Item(file, _label(folder, classes), split) for file in _files(folder)]
    return Listing(items, classes)


def _class_folders(folder: Path) -> list[Path]:
    entries = _visible(folder)
    loose = next((entry for entry in entries if is_picture(entry) and entry.is_file()), None)
    if loose is not None:
        raise DataError(
            f"{loose}: expected this image in the sub-folder of its class, got it beside them; use {LAYOUT}"
        )
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        raise DataError(f"{folder}: expected one sub-folder per class, found none; use {LAYOUT}")
    return classes


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder {LAYOUT}, got a file; give the path of the folder")
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _label(folder: Path, classes: Sequence[str]) -> int:
    if folder.name not in classes:
        raise DataError(f"{folder}: expected one of the classes of train ({', '.join(classes)}); rename or remove it")
    return classes.index(folder.name)


def _files(folder: Path) -> list[Path]:
    files = _visible(folder)
    if not files:
        raise DataError(
            f"{folder}: expected at least one image of this class, found none; add one or remove the folder"
        )
    inner = next((file for file in files if file.is_dir()), None)
    if inner is not None:
        raise DataError(f"{inner}: expected an image, got a folder; use {LAYOUT}")
    return files


def _split(root: Path, items: list[Item], given: set[str], rng: torch.Generator) -> dict[str, Int[Tensor, " _"]]:
    splits = {
        s: torch.tensor([i for i, item in enumerate(items) if item.split == s], dtype=torch.int64) for s in SPLITS
    }
    missing = [split for split in SPLITS if split not in given]
    if len(splits["train"]) <= len(missing) or any(len(splits[split]) == 0 for split in given):
        sizes = ", ".join(f"{len(index)} for {split}" for split, index in splits.items())
        raise DataError(f"{root}: expected at least one image in each split, got {sizes}; raise count or add images")
    fraction = CARVED
    for split in missing:
        splits["train"], splits[split] = carve(splits["train"], fraction, rng)
        fraction = CARVED / (1 - CARVED)  # of what is left, to be as many again
    return splits
