"""Splits of 8-bit images, as an ``.npz`` with MedMNIST keys holds them: read, checked, joined."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from leakward.data.partition import carve
from leakward.errors import DataError
from leakward.types import generator

SPLITS = ("train", "val", "test")
CARVED = 0.1
KEYS = "the MedMNIST keys {train,val,test}_{images,labels}"

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (n h w c) in 0 .. 255 and labels (n)."""


class Joined(NamedTuple):
    """All splits of a source in one tensor, and which image is in which."""

    images: Float[Tensor, "n c h w"]
    labels: Int[Tensor, " n"]
    splits: Mapping[str, Int[Tensor, " _"]]


def read_npz(file: Path, required: Sequence[str] = SPLITS) -> dict[str, Split]:
    """Read the splits of an ``.npz`` with MedMNIST keys; pickled objects are refused.

    Raises:
        DataError: If the file is broken, or lacks a split of ``required``, or holds anything but images and labels.
    """
    arrays = _arrays(file)
    present = [s for s in SPLITS if s in required or f"{s}_images" in arrays]
    missing = [key for s in present for key in (f"{s}_images", f"{s}_labels") if key not in arrays]
    if missing:
        raise DataError(f"{file}: expected {KEYS}, but {', '.join(missing)} is missing; add it or give another file")
    return {s: checked(file, s, arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in present}


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    wanted = {f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")}
    try:
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{file}: expected an .npz archive, got a single array; save it with {KEYS}")
            return {key: archive[key] for key in archive.files if key in wanted}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{file}: expected a readable .npz of plain arrays, got {type(error).__name__}; "
            "copy or download it again, it is cut short, damaged or holds pickled objects"
        ) from error


def checked(file: Path, split: str, images: NDArray[Any], labels: NDArray[Any]) -> Split:
    """Return images (n h w c) and labels (n) of one split of ``file``.

    Args:
        file: Named in the error.
        split: Named in the error.
        images: 8-bit, (n h w) or (n h w c) with one or three channels.
        labels: Integers from 0, (n 1) or (n).

    Raises:
        DataError: If they are anything else.
    """
    images = images[..., np.newaxis] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        wanted, got = "uint8 (n h w) or (n h w c) with c 1 or 3, none empty", f"{images.dtype} {images.shape}"
        raise DataError(f"{file}: expected {split} images as {wanted}, got {got}; convert them")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        wanted, got = f"{len(images)} integers, one per image", f"{labels.dtype} {labels.shape}"
        raise DataError(f"{file}: expected {split} labels as {wanted}, got {got}; data with one class per image only")
    return images, labels.reshape(-1).astype(np.int64)


def check_labels(file: Path, labels: Int[Tensor, " n"], classes: int | None) -> int:
    """Return the number of classes, which is that of the labels where ``classes`` is None.

    Raises:
        DataError: If a label lies outside.
    """
    low, high = int(labels.min()), int(labels.max())
    limit = len(labels) if classes is None else classes
    if low < 0 or high >= limit:
        raise DataError(f"{file}: expected labels 0 to {limit - 1}, got {low} to {high}; number the classes from 0")
    return classes or high + 1


def join(file: Path, parts: Mapping[str, Split], seed: int) -> Joined:
    """Put the splits one after another; a missing ``val`` is a tenth of ``train``, drawn by ``seed``.

    Raises:
        DataError: If the splits differ in image size or channels.
    """
    shapes = {images.shape[1:] for images, _ in parts.values()}
    if len(shapes) > 1:
        raise DataError(f"{file}: expected one image shape in all splits, got {sorted(shapes)}; resize the images")
    joined = np.concatenate([images for images, _ in parts.values()])
    images = torch.from_numpy(joined).permute(0, 3, 1, 2).contiguous().float().div_(255)
    labels = torch.from_numpy(np.concatenate([labels for _, labels in parts.values()]))
    sizes = [len(labels) for _, labels in parts.values()]
    splits = dict(zip(parts, torch.arange(len(labels)).split(sizes), strict=True))
    if "val" not in splits:
        splits["train"], splits["val"] = carve(splits["train"], CARVED, generator(seed))
    return Joined(images, labels, splits)


def refuse(name: str, images: Float[Tensor, "n c h w"], size: int | None, count: int | None) -> None:
    """Raise ``DataError`` where a source that is used as published is asked for another size or fewer images."""
    height, width = images.shape[-2:]
    if size is not None and (size, size) != (height, width):
        raise DataError(f"data {name!r}: expected the size of its images, {height}×{width}, got {size}; leave size out")
    if count is not None:
        raise DataError(f"data {name!r}: expected no count, got {count}; leave it out, the data set is used whole")
