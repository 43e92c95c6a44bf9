"""Flower's simulation engine: all clients on this machine, run by Ray. It starts once for all jobs.

The only place where Flower has to be there; it comes with the extra ``flower``.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Event
from typing import Any

from leakward.errors import LeakwardError
from leakward.quiet import quiet
from leakward.training.results import TrainingResult
from leakward.training.settings import Job

CLIENT: dict[str, int] = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": 1}
"""What Ray gives a client: a core. A process that dies is replaced, and what it did is tried once more."""


def train(
    jobs: Sequence[Job], done: Callable[[int, TrainingResult], None], progress: Callable[[int, str, float], None]
) -> None:
    """Train ``jobs`` one after the other on one engine.

    Args:
        jobs: At least one.
        done: Takes each job's place and what it came to, as soon as it is trained.
        progress: Called with a job's place, what is being done, and the fraction of the job that is done.

    Raises:
        LeakwardError: If Flower is not installed, a strategy cannot be made, or no client of a round sends an update.
    """
    if find_spec("flwr") is None or find_spec("ray") is None:
        raise LeakwardError(
            "federated training: expected Flower with its simulation engine, which is not installed; "
            "install leakward[flower]"
        )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of what it may do some day
    from flwr.simulation import run_simulation

    from leakward.training.apps import client_app, server_app
    from leakward.training.strategies import make_strategy

    stopped, clients = Event(), max(job.data.clients for job in jobs)
    backend: dict[str, dict[str, Any]] = {
        "init_args": {"address": "local", "num_cpus": min(clients, os.cpu_count() or 1)},
        "client_resources": dict(CLIENT),
    }
    with quiet("flwr"), _killed_at_the_end():
        for job in jobs:  # wrong settings need not wait for the engine
            make_strategy(job.federation)
        progress(0, "starting the engine", 0.0)
        try:
            server = server_app(jobs, done, progress, stopped)
            run_simulation(server, client_app(jobs), clients, backend_config=backend)
        finally:
            stopped.set()


@contextmanager
def _killed_at_the_end() -> Generator[None]:
    """Have Flower kill the processes of its clients, which it asks to go (Flower 1.41).

    Ray 2.55 takes one that goes for lost, tries to tell so, and ends this process without a word if it is shut down
    meanwhile, which Flower does next.
    """
    import ray
    from flwr.simulation.ray_transport.ray_actor import BasicActorPool

    def kill(self: Any) -> None:
        for process in self.pool:
            ray.kill(process)

    asking = BasicActorPool.terminate_all_actors
    BasicActorPool.terminate_all_actors = kill
    try:
        yield
    finally:
        BasicActorPool.terminate_all_actors = asking
