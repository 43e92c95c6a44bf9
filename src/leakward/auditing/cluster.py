"""``cluster``: a Ray cluster that makes the parts of an audit, one by one, wherever a core is free.

Every node needs Leakward, the data under the same names, and the run folder, on storage that all of them share. What a
node makes goes there at once, so that one which dies costs no more than the parts it was at: Ray has others make them.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from leakward.auditing.bench import Bench, open_bench
from leakward.auditing.crew import Make, Tell
from leakward.auditing.plan import make_plan, plain
from leakward.errors import LeakwardError
from leakward.quiet import quiet

RETRIES = 10
"""How often a part is begun anew after a node or a process died over it."""
PAUSE = 0.5
"""Seconds between two looks at what nodes have done."""
ANSWER = 10.0
"""Seconds within which a cluster answers."""
VISIBLE = 90.0
"""Seconds after which shared storage has shown everywhere what was written anywhere."""


class Place(NamedTuple):
    """Where parts are made, in words that mean the same on all nodes.

    Attributes:
        plan: Its plain tables, as JSON.
        out: Run folder.
        trainings: Folder of trained networks.
        device: ``cpu`` or ``cuda``.
        here: Folder that relative paths of the plan begin at.
    """

    plan: str
    out: str
    trainings: str
    device: str
    here: str


@contextmanager
def cluster(bench: Bench, address: str) -> Generator[Make]:
    """Yield what makes parts on a Ray cluster.

    Raises:
        LeakwardError: If there is none, or none that can do it.
    """
    out, trainings = (str(store.folder.absolute()) for store in (bench.store, bench.trained))
    place = Place(json.dumps(plain(bench.plan)), out, trainings, bench.site.device.type, os.getcwd())
    with quiet("ray"):
        ray = _connected(address, bench.site.device.type)
        try:
            yield lambda parts, tell: _make(ray, address, bench, place, parts, tell)
        finally:
            ray.shutdown()  # ends what it has not finished


def _connected(address: str, device: str) -> Any:
    """Return Ray, connected to a cluster."""
    if find_spec("ray") is None:
        raise LeakwardError(f"--ray {address}: expected Ray, which is not installed; install leakward[flower]")
    if address == "local":
        raise LeakwardError("--ray local: expected a cluster that runs; leave --ray out to use this machine alone")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of what it may do some day
    import ray

    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise LeakwardError(
            f"--ray {address}: expected the address of a Ray cluster of this version, got: {why}; start one, as in "
            "docs/running.md"
        ) from error
    if device == "cuda" and not ray.cluster_resources().get("GPU"):
        ray.shutdown()
        raise LeakwardError(f"--ray {address}: expected nodes with a GPU for --device cuda, found none; add some")
    return ray


def _knock(address: str) -> None:
    """Raise ``OSError`` if nobody answers at a host and port; Ray would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), ANSWER).close()


def _make(ray: Any, address: str, bench: Bench, place: Place, parts: Sequence[str], tell: Tell) -> None:
    task = ray.remote(_make_part).options(num_cpus=1, num_gpus=int(place.device == "cuda"), max_retries=RETRIES)
    made = {task.remote(place, part): part for part in parts}
    waiting = list(made)
    while waiting:
        tell(made[waiting[0]], float(len(made) - len(waiting)))
        done, waiting = ray.wait(waiting, timeout=PAUSE)
        try:
            ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise LeakwardError(
                f"--ray {address}: expected nodes that live, got {type(error).__name__}; what is done is kept: look "
                "into Ray's logs, and run again"
            ) from error
    _look(bench, parts)


def _look(bench: Bench, parts: Sequence[str]) -> None:
    """Wait until what other nodes have written can be seen."""
    deadline = time.monotonic() + VISIBLE
    while not all(map(bench.there, parts)):
        if time.monotonic() > deadline:
            raise LeakwardError(f"--out {bench.store.folder}: expected a folder that all nodes share; choose another")
        time.sleep(PAUSE)
        os.listdir(bench.store.parts)  # which network file systems take as a reason to ask again


def _make_part(place: Place, part: str) -> None:
    """Make one part; runs on a node."""
    _bench(place).make(part, lambda _: None)


@lru_cache(maxsize=1)
def _bench(place: Place) -> Bench:
    """Open the bench once per process: Ray gives a process one part after the other."""
    if not (Path(place.out) / "plan.json").is_file():
        raise LeakwardError(f"--out {place.out}: expected a folder that all nodes share; choose another")
    if Path(place.here).is_dir():
        os.chdir(place.here)
    return open_bench(make_plan(json.loads(place.plan)), Path(place.out), place.device, Path(place.trainings))
