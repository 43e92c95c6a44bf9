"""CIFAR-10 (Krizhevsky 2009): the official Python batches, or an ``.npz`` with MedMNIST keys."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from leakward.data.arrays import Split, check_labels, checked, join, read_npz, refuse
from leakward.data.dataset import Dataset
from leakward.data.files import VARIABLE, data_folder, existing, first
from leakward.errors import DataError

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
BATCHES = "cifar-10-batches-py"
FILES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHANNEL_VALUES = 32 * 32

RECONSTRUCT = np.empty(0).__reduce__()[0]
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""All that a batch may name. Unpickling calls what a file names, so that anything else could run code."""


def load(
    name: str = "cifar10",
    *,
    path: str | Path | None = None,
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load CIFAR-10.

    Args:
        name: Of the data set in reports.
        path: The folder ``cifar-10-batches-py``, one that holds it, or an ``.npz`` with MedMNIST keys. Without it,
            the folder named by ``LEAKWARD_DATA`` is searched.
        size: Only the size that the images have.
        count: Must be None: the data set is used whole.
        seed: Of the tenth of ``train`` that becomes ``val`` where the files have none.

    Raises:
        DataError: If the files cannot be found or are not what they should be; the message says which and why.
    """
    place = _locate(path)
    parts = _read_batches(place) if place.is_dir() else read_npz(place, required=("train", "test"))
    images, labels, splits = join(place, parts, seed)
    refuse(name, images, size, count)
    check_labels(place, labels, len(CLASSES))
    if images.shape[1] != 3:
        raise DataError(f"{place}: expected RGB images, got {images.shape[1]} channel; this is not CIFAR-10")
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        classes=CLASSES,
        splits=splits,
        licence="none stated; cite the report",
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )


def _locate(path: str | Path | None) -> Path:
    folder = data_folder() if path is None else existing(path)
    if folder is not None and (folder.is_file() or folder.name == BATCHES):
        return folder
    found = folder and first(folder, BATCHES, f"*/{BATCHES}", "cifar10*.npz", "*/cifar10*.npz")
    if not found:
        where = VARIABLE if path is None else folder
        raise DataError(
            f"data 'cifar10': expected {BATCHES} or cifar10*.npz in {where}, found none; "
            f"unpack {ADDRESS} and set {VARIABLE} to the folder that holds {BATCHES}"
        )
    return found


def _read_batches(folder: Path) -> dict[str, Split]:
    parts: dict[str, Split] = {}
    for split, names in FILES.items():
        images, labels = zip(*(_read_batch(folder / name, split) for name in names), strict=True)
        parts[split] = np.concatenate(images), np.concatenate(labels)
    return parts


def _read_batch(file: Path, split: str) -> Split:
    if not file.is_file():
        raise DataError(f"{file}: expected this batch of CIFAR-10, but it is missing; unpack {ADDRESS} again")
    batch = _unpickle(file)
    pixels, labels = (batch.get(b"data"), batch.get(b"labels")) if isinstance(batch, dict) else (None, None)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3 * CHANNEL_VALUES:
        raise DataError(f"{file}: expected 'data' as an array (n 3072), got something else; unpack {ADDRESS} again")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{file}: expected 'labels' as a list of integers, got something else; unpack {ADDRESS} again")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return checked(file, split, images, np.array(labels))


def _unpickle(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            return _ArraysOnly(stream, encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise DataError(
            f"{file}: expected a batch of CIFAR-10, got {type(error).__name__}; unpack {ADDRESS} again"
        ) from error


class _ArraysOnly(pickle.Unpickler):
    """Build NumPy arrays and plain containers, and refuse whatever else a pickle asks for."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what a pickle names if it is on the list."""
        if (module_name, global_name) not in ALLOWED:
            raise DataError(
                f"expected nothing but arrays, got a pickle that asks for {module_name}.{global_name}; "
                "do not trust this file"
            )
        return ALLOWED[module_name, global_name]
