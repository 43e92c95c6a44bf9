"""MedMNIST v2 (Yang et al. 2023): official files, and any other ``.npz`` with the same keys."""

from dataclasses import dataclass
from pathlib import Path

import pooch

from leakward.data.arrays import check_labels, join, read_npz, refuse
from leakward.data.dataset import Dataset
from leakward.data.files import VARIABLE, data_folder, existing, first
from leakward.errors import DataError

ADDRESS = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
MEDMNIST = "Yang et al., MedMNIST v2, Scientific Data 10:41, 2023"


@dataclass(frozen=True)
class Published:
    """What the publisher says about one official file.

    Attributes:
        classes: One name per class.
        citation: Whom to cite.
        md5: Checksum of the official ``.npz``.
        licence: Of the data.
    """

    classes: tuple[str, ...]
    citation: str
    md5: str
    licence: str = "CC BY 4.0"


PUBLISHED = {
    "bloodmnist": Published(
        classes=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocyte",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        citation=f"Acevedo et al., Data in Brief 30:105474, 2020; {MEDMNIST}",
        md5="7053d0359d879ad8a5505303e11de1dc",
    ),
    "pneumoniamnist": Published(
        classes=("normal", "pneumonia"),
        citation=f"Kermany et al., Cell 172:1122-1131, 2018; {MEDMNIST}",
        md5="28209eda62fecd6e6a2d98b1501bb15f",
    ),
    "retinamnist": Published(
        classes=("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
        citation=f"Liu et al., DeepDRiD, Patterns 3(6):100512, 2022; {MEDMNIST}",
        md5="bd4c0672f1bba3e3a89f0e4e876791e4",
    ),
}


def load(
    name: str, *, path: str | Path | None = None, size: int | None = None, count: int | None = None, seed: int = 0
) -> Dataset:
    """Load a MedMNIST ``.npz``.

    Args:
        name: ``bloodmnist``, ``pneumoniamnist``, ``retinamnist``, or any name for the file at ``path``.
        path: The file, or a folder to search. Without it, the folder named by ``LEAKWARD_DATA`` is searched, and
            then the official file is downloaded once and checked against its published checksum.
        size: Only the size that the images have.
        count: Must be None: the data set is used whole, in its own splits.
        seed: Not used, since the splits are those of the file.

    Raises:
        DataError: If the file cannot be found or is not what it should be; the message says which file and why.
    """
    published = PUBLISHED.get(name)
    file = _locate(name, path)
    images, labels, splits = join(file, read_npz(file), seed)
    refuse(name, images, size, count)
    classes = check_labels(file, labels, len(published.classes) if published else None)
    channels = images.shape[1]
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        classes=published.classes if published else tuple(str(i) for i in range(classes)),
        splits=splits,
        licence=published.licence if published else "as stated by the owner of the file",
        citation=_citation(published, file) if published else "",
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )


def _citation(published: Published, file: Path) -> str:
    remark = "; rebuilt from the source images, not the official file" if file.stem.endswith("_rebuilt") else ""
    return published.citation + remark


def _locate(name: str, path: str | Path | None) -> Path:
    given = None if path is None else existing(path)
    if given is not None and not given.is_dir():
        return given
    folder = given or data_folder()
    patterns = (f"{name}.npz", f"*/{name}.npz", f"*/{name}_rebuilt.npz")
    found = folder and first(folder, *patterns)
    if found:
        return found
    if given is not None:
        raise DataError(f"{given}: expected {name}.npz in this folder, found none; give the path of the file itself")
    return _download(name)


def _download(name: str) -> Path:
    if name not in PUBLISHED:
        raise DataError(
            f"data {name!r}: expected a path, since only {', '.join(PUBLISHED)} can be downloaded; set path"
        )
    address = ADDRESS.format(name=name)
    checksum = f"md5:{PUBLISHED[name].md5}"
    try:
        file = pooch.retrieve(address, known_hash=checksum, fname=f"{name}.npz", path=pooch.os_cache("leakward"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"data {name!r}: expected {name}.npz in the folder named by {VARIABLE} or from {address}, got "
            f"{type(error).__name__} there; set {VARIABLE} to a folder that holds the file, or give its path"
        ) from error
    return Path(file)
