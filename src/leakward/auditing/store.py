"""The run folder: parts written whole or not at all, and tables made from them.

A part is one folder under ``parts``, named by content hash. It is written under a temporary name and renamed, so a part
that exists is complete, whatever happened to the process; an audit that starts again skips it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from leakward.errors import LeakwardError

try:
    import fcntl
except ImportError:  # not on Windows: two audits of one folder at a time are not noticed there
    fcntl = None

SCORES = pa.schema([("cell", pa.string()), ("victim", pa.int64()), ("metric", pa.string()), ("value", pa.float64())])
CELLS = pa.schema(
    [(name, pa.string()) for name in ("id", "data", "model", "attack", "defense", "knowledge", "recipe")]
    + [
        ("seed", pa.int64()),
        ("after_rounds", pa.int64()),
        ("server", pa.string()),
        ("status", pa.string()),
        ("victims", pa.int64()),
    ]
    + [("seconds", pa.float64()), ("class_f1", pa.float64()), ("members", pa.list_(pa.string()))]
)
UTILITY = pa.schema(
    [("defense", pa.string()), ("seed", pa.int64()), ("round", pa.int64())]
    + [(name, pa.float64()) for name in ("accuracy", "f1_macro", "auc")]
    + [("rounds", pa.int64()), ("clients", pa.int64()), ("epsilon", pa.float64()), ("delta", pa.float64())]
    + [("accountant", pa.string()), ("identified_bound", pa.float64())]
)
ROUNDS = pa.schema(
    [("defense", pa.string()), ("seed", pa.int64()), ("round", pa.int64())]
    + [(name, pa.float64()) for name in ("accuracy", "f1_macro", "auc", "seconds")]
    + [(name, pa.int64()) for name in ("bytes_down", "bytes_up", "clients", "lost")]
)
CLIENTS = pa.schema(
    [("defense", pa.string()), ("seed", pa.int64())]
    + [(name, pa.int64()) for name in ("client", "images", "agreed", "rounds")]
    + [("epsilon", pa.float64()), ("delta", pa.float64()), ("accountant", pa.string())]
)
SCRATCH = ".part-"
TRIES = 3
"""To put a part in its place."""


class Store:
    """Reads and writes one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._writing():
            self.parts.mkdir(parents=True, exist_ok=True)

    @property
    def parts(self) -> Path:
        """Return the folder of parts."""
        return self.folder / "parts"

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Keep other audits out of the folder, and clean away what a killed one left half-written.

        Raises:
            LeakwardError: If another audit is writing to it.
        """
        with self._writing():
            lock = (self.parts / ".lock").open("w")
        with lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise LeakwardError(
                        f"--out {self.folder}: another audit is writing to this folder; wait for it, or choose another"
                    ) from error
                except OSError:  # a file system without locks
                    pass
            for left in self.parts.glob(f"{SCRATCH}*"):
                _remove(left)
            yield

    def has(self, part: str, *names: str) -> bool:
        """Return whether a part is complete and holds the files ``names``."""
        folder = self.parts / part
        return folder.is_dir() and all((folder / name).is_file() for name in names)

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """Yield a folder to write into that is gone when the block ends."""
        with self._writing():
            scratch = Path(tempfile.mkdtemp(dir=self.parts, prefix=SCRATCH))
        try:
            yield scratch
        finally:
            _remove(scratch)

    @contextmanager
    def new_part(self, part: str) -> Generator[Path]:
        """Yield a folder to write into; it becomes the part once the block ends without an error.

        A part that is there by then and lacks nothing stays: whoever made it made the same.
        """
        with self._writing(), self.scratch() as scratch:
            yield scratch
            self._settle(scratch, part)

    def _settle(self, scratch: Path, part: str) -> None:
        """Rename ``scratch`` to the part, though another process may do the same at this moment."""
        names = [path.name for path in scratch.iterdir()]
        for left in reversed(range(TRIES)):
            if self.has(part, *names):
                return
            _remove(self.parts / part)
            try:
                os.replace(scratch, self.parts / part)
            except OSError:  # the other one was faster
                if not left:
                    raise
            else:
                return

    def withdraw(self, name: str) -> None:
        """Remove a file of the run folder, if it is there."""
        with self._writing():
            (self.folder / name).unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Remove a file from every part."""
        with self._writing():
            for path in self.parts.glob(f"*/{name}"):
                path.unlink()

    def read_json(self, part: str, name: str) -> dict[str, Any]:
        """Return the plain values of a part.

        Raises:
            LeakwardError: If somebody damaged it.
        """
        path = self.parts / part / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LeakwardError(
                f"{path}: expected what an audit wrote, got {type(error).__name__}; delete {path.parent} and run again"
            ) from error

    @staticmethod
    def dump(path: Path, content: Mapping[str, Any]) -> None:
        """Write plain values as JSON; NaN and infinity are refused."""
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain values to the run folder, whole or not at all."""
        self._replace(name, lambda path: self.dump(path, content))

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
        """Write a table to the run folder, whole or not at all."""
        table = pa.Table.from_pylist(list(rows), schema=schema)
        self._replace(name, lambda path: pq.write_table(table, path))

    def _replace(self, name: str, write: Callable[[Path], None]) -> None:
        scratch = self.parts / f"{SCRATCH}{name}"
        with self._writing():
            try:
                write(scratch)
                os.replace(scratch, self.folder / name)
            finally:
                _remove(scratch)

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise LeakwardError(
                f"--out {self.folder}: expected a folder to write to: {why}; choose another, or make room"
            ) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
