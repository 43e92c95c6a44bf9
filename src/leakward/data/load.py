"""One function for every source: a registry name, an ``.npz`` or a folder of images."""

from pathlib import Path

from leakward import registry
from leakward.data import folder, medmnist
from leakward.data.dataset import Dataset
from leakward.data.files import existing
from leakward.errors import DataError

PATHS = "an .npz with the keys {train,val,test}_{images,labels}, or a folder <root>/[train|val|test]/<class>/<image>"


def load_data(
    name_or_path: str,
    *,
    path: str | Path | None = None,
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a data set by its registry name or from a path.

    Args:
        name_or_path: A registry name, the path of an ``.npz`` or of a folder of images; or any name for what is
            at ``path``.
        path: Where the data lie, if not where the source looks by itself.
        size: Height and width, for sources that can choose.
        count: At most so many images, for sources that can choose.
        seed: Of every random choice a source makes.

    Raises:
        DataError: If there is no such name or path, or what is there cannot be used.
    """
    names = registry.names("data")
    if name_or_path in names:
        source = registry.load("data", name_or_path)
        return source(name_or_path, path=path, size=size, count=count, seed=seed)
    place = existing(path) if path is not None else Path(name_or_path).expanduser()
    if not place.exists():
        choices = ", ".join(sorted(names))
        raise DataError(f"data {name_or_path!r}: expected one of {choices}, or a path: {PATHS}; there is neither")
    resolved = place.resolve()
    if place.is_dir():
        name = name_or_path if path is not None else resolved.name
        return folder.load(name, path=place, size=size, count=count, seed=seed)
    if place.suffix == ".npz":
        name = name_or_path if path is not None else resolved.stem
        return medmnist.load(name, path=place, size=size, count=count, seed=seed)
    raise DataError(f"{place}: expected {PATHS}, got a file of another kind; convert it")
