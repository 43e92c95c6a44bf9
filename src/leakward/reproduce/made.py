"""How the tables of a reproduction were made, kept beside them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from leakward.errors import LeakwardError
from leakward.report.run import read_run
from leakward.reproduce.paper import Scale

MADE = "made.json"
HOUR = 3600.0


@dataclass(frozen=True)
class Made:
    """What made the tables.

    Attributes:
        scale: Of the reproduction.
        leakward: Version.
        torch: Version of PyTorch.
        machine: System, processor, cores and device.
        finished: Day on which the last audit ended.
        hours: That all attacks took, added up.
    """

    scale: Scale
    leakward: str
    torch: str
    machine: str
    finished: str
    hours: float

    def save(self, folder: Path) -> None:
        """Write it beside the tables."""
        (folder / MADE).write_bytes(TypeAdapter(Made).dump_json(self, indent=2) + b"\n")


def look(scale: Scale, runs: Iterable[Path], cells: Any) -> Made:
    """Return how finished audits were made, as the last of them says.

    Args:
        scale: Of the reproduction.
        runs: Folders of the audits.
        cells: Table of all cells.
    """
    facts = max((read_run(run).plan.facts for run in runs), key=lambda one: one.finished or "")
    machine = f"{facts.platform}, {facts.cores} cores, device {facts.device}"
    hours = float(cells["seconds"].sum()) / HOUR
    return Made(scale, f"{facts.leakward}", f"{facts.torch}", machine, f"{facts.finished}"[:10], round(hours, 2))


def load_made(folder: Path) -> Made:
    """Read it.

    Raises:
        LeakwardError: If it is missing or broken.
    """
    try:
        return TypeAdapter(Made).validate_json((folder / MADE).read_bytes())
    except (OSError, ValidationError) as error:
        raise LeakwardError(f"{folder}: expected {MADE} of a reproduction, got: {error}; run it first") from error
