"""The files of a folder that a linter reads, within limits: nothing that leads elsewhere, and nothing endless."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leakward.errors import LeakwardError
from leakward.linting.place import Place

NAMES = re.compile(
    r".*\.py|pyproject\.toml|(meta|config_fed_client|config_fed_server)\.(json|conf|ya?ml)"
    r"|(privacy|resources|authorization)\.json(\.default|\.sample)?|fed_server\.json"
)
"""Python, and what the engines call their configuration files."""
LARGEST = 300_000
"""Bytes of one file."""
TOTAL = 3_000_000
"""Bytes of all files together, and with MOST a bound on time and memory."""
MOST = 1_000
"""Files and folders in all."""
ENVIRONMENT = "pyvenv.cfg"
"""What a folder with an environment of Python holds; its packages are no part of the app."""


@dataclass(frozen=True)
class Unread:
    """A file that was left out.

    Args:
        place: Where it is.
        why: What is wrong with it.
        code: Whether it may hold what a linter looks for.
    """

    place: Place
    why: str
    code: bool


@dataclass(frozen=True)
class Folder:
    """What was found in a folder, or of one file.

    Args:
        files: Content by path, seen from the folder, in the order of their names.
        unread: Files that were left out.
    """

    files: dict[Path, bytes]
    unread: tuple[Unread, ...]


def read_folder(path: Path) -> Folder:
    """Read all files of the kinds that apps and jobs are made of.

    Args:
        path: A folder, or one file.

    Raises:
        LeakwardError: If there is nothing there, or too much.
    """
    try:
        path = path.resolve(strict=True)
        return _read(path) if path.is_dir() else _read_only(path)
    except (OSError, RuntimeError) as error:
        raise LeakwardError(
            f"{path}: expected a folder or a file that can be read, got {type(error).__name__}; check the path"
        ) from error


def _read_only(path: Path) -> Folder:
    name = Path(path.name)
    why = _wrong(path)
    content = {} if why else {name: path.read_bytes()}
    return Folder(content, (Unread(Place(name, 1), why, True),) if why else ())


def _read(root: Path) -> Folder:
    files: dict[Path, bytes] = {}
    unread: list[Unread] = []
    for count, path in enumerate(_walk(root)):
        if count == MOST or sum(map(len, files.values())) > TOTAL:
            raise LeakwardError(
                f"{root.name}: expected at most {MOST} files of {TOTAL // 10**6} MB, got more; name a folder in it"
            )
        name, code = path.relative_to(root), NAMES.fullmatch(path.name) is not None
        if why := _wrong(path):
            unread.append(Unread(Place(name, 1), why, code))
        elif code:
            files[name] = path.read_bytes()
    return Folder(files, tuple(unread))


def _walk(root: Path) -> Iterator[Path]:
    """Return the files of our kinds, and links to folders; hidden folders and environments of Python stay out."""
    for folder, folders, files in os.walk(root, followlinks=False):
        here = Path(folder)
        if ENVIRONMENT in files and here != root:
            folders.clear()
            continue
        yield from (here / name for name in sorted(folders) if (here / name).is_symlink())
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        yield from (here / name for name in sorted(files) if NAMES.fullmatch(name))


def _wrong(path: Path) -> str:
    """Return why a file is not read; empty if it is."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "a link, which is not followed"
    if not stat.S_ISREG(found.st_mode):
        return "not a plain file"
    if found.st_size > LARGEST:
        return f"{found.st_size} bytes, more than the {LARGEST} that are read"
    return "" if os.access(path, os.R_OK) else "no right to read it"
