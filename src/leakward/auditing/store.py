"""The run folder: parts written whole or not at all, and tables made from them.

A part is one folder under ``parts``, named by content hash. It is written under a temporary name and renamed, so a part
that exists is complete, whatever happened to the process; an audit that starts again skips it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from leakward.errors import LeakwardError

SCORES = pa.schema([("cell", pa.string()), ("victim", pa.int64()), ("metric", pa.string()), ("value", pa.float64())])
CELLS = pa.schema(
    [(name, pa.string()) for name in ("id", "data", "model", "attack", "defense", "knowledge", "recipe")]
    + [("seed", pa.int64()), ("status", pa.string()), ("victims", pa.int64()), ("seconds", pa.float64())]
)
UTILITY = pa.schema(
    [("defense", pa.string()), ("seed", pa.int64()), ("round", pa.int64())]
    + [(name, pa.float64()) for name in ("accuracy", "f1_macro")]
    + [("rounds", pa.int64()), ("clients", pa.int64()), ("epsilon", pa.float64()), ("delta", pa.float64())]
    + [("accountant", pa.string())]
)


class Store:
    """Reads and writes one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LeakwardError(f"--out {folder}: expected a folder to write to: {error.strerror}; choose another") from error
        for left in self.parts.glob(".part-*"):
            shutil.rmtree(left, ignore_errors=True)

    @property
    def parts(self) -> Path:
        """Return the folder of parts."""
        return self.folder / "parts"

    def has(self, part: str) -> bool:
        """Return whether a part is complete."""
        return (self.parts / part).is_dir()

    @contextmanager
    def new_part(self, part: str) -> Iterator[Path]:
        """Yield a folder to write into; it becomes the part once the block ends without an error."""
        scratch = Path(tempfile.mkdtemp(dir=self.parts, prefix=".part-"))
        try:
            yield scratch
            os.replace(scratch, self.parts / part)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def read_json(self, part: str, name: str) -> dict[str, Any]:
        """Return the plain values of a part."""
        return json.loads((self.parts / part / name).read_text(encoding="utf-8"))

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

    def _replace(self, name: str, write: Any) -> None:
        scratch = self.folder / f".{name}.{os.getpid()}"
        try:
            write(scratch)
            os.replace(scratch, self.folder / name)
        finally:
            scratch.unlink(missing_ok=True)
