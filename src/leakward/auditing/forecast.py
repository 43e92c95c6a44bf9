"""What parts of an audit will take, and the meter that it is read from."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Literal

import psutil
import torch

from leakward.pace import clock, measured

LOOK = 0.02
"""Seconds between two looks at the memory that this process holds."""
MIB = 2**20
Kind = Literal["fitting", "training", "cell"]


@dataclass(frozen=True)
class Forecast:
    """What alike parts of an audit will take together.

    Attributes:
        kind: What they are; a fitting is of a defence to the images of the site.
        defense: Label of the defence.
        attack: Label of the attack; empty unless cells.
        knowledge: Of the attacker; empty unless cells.
        parts: How many.
        seconds: Of computing.
        evaluations: Of objective and gradient, by attackers.
        mib: Memory that the process of a part holds at most.
    """

    kind: Kind
    defense: str
    attack: str = ""
    knowledge: str = ""
    parts: int = 1
    seconds: float = 0.0
    evaluations: int = 0
    mib: float = 0.0

    @property
    def what(self) -> str:
        """Say what the parts are."""
        return f"{self.attack} on {self.defense}, {self.knowledge}" if self.attack else f"{self.kind} {self.defense}"


@dataclass(frozen=True)
class Estimate:
    """What an audit will take.

    Attributes:
        forecasts: In the order of the audit.
        processes: That will run side by side.
        seconds: Of computing by all of them.
        wait: Seconds from start to end, with nothing else on the machine.
    """

    forecasts: tuple[Forecast, ...]
    processes: int
    seconds: float
    wait: float


@dataclass
class Meter:
    """What one part will take.

    Attributes:
        seconds: Of computing.
        evaluations: Of objective and gradient.
        mib: Memory that the process holds at most.
    """

    seconds: float = 0.0
    evaluations: float = 0.0
    mib: float = 0.0


@contextmanager
def metered(device: torch.device) -> Generator[Meter]:
    """Measure a block by a few steps of its loops."""
    meter, done = Meter(), Event()
    watch = Thread(target=_watch, args=(meter, device, done), daemon=True)
    watch.start()
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    try:
        with measured(wait) as found:
            begin = clock()
            yield meter
            meter.seconds = meter.seconds or clock() - begin
        meter.evaluations = found.evaluations
    finally:
        done.set()
        watch.join()


def _watch(meter: Meter, device: torch.device, done: Event) -> None:
    process = psutil.Process()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    over = False
    while not over:
        over = done.wait(LOOK)
        meter.mib = max(meter.mib, process.memory_info().rss / MIB)
    if device.type == "cuda":
        meter.mib = torch.cuda.max_memory_allocated(device) / MIB
