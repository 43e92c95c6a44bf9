"""``federate``: train the federation of a plan with every defence, and write how good the model is after each round.

An audit with the same run folder finds the trainings there and does not repeat them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from leakward.auditing.facts import software
from leakward.auditing.plan import Plan, make_plan, plain
from leakward.auditing.proven import proven_clients
from leakward.auditing.site import fingerprint, site_data
from leakward.auditing.store import CLIENTS, ROUNDS, Store
from leakward.auditing.trainings import TRAINING, federated_jobs, rounds_of, train_federations
from leakward.errors import DataError, PlanError
from leakward.models import build_task
from leakward.parts import label
from leakward.training import ClientPrivacy, Job, sites


def federate(
    plan: Plan | Mapping[str, Any], out: Path | str, *, progress: Callable[[str, float], None] = lambda _, __: None
) -> Path:
    """Train by ``[federation]`` with every defence and seed of a plan, or go on with it; return the run folder.

    It holds ``rounds.parquet``, ``clients.parquet``, ``federated.json`` and the last weights of each training.

    Args:
        plan: A ``Plan``, or its plain tables.
        out: Run folder; trainings already there are kept.
        progress: Called with what is being done and the fraction of all that is done, in [0, 1].

    Raises:
        LeakwardError: If something is wrong that the user can mend; the message is one sentence.
    """
    if not isinstance(plan, Plan):
        plan = make_plan(plan)
    if plan.federation is None:
        raise PlanError("plan: expected a table [federation] to train by, got none; add one, as in docs/federated.md")
    data, delta = site_data(plan.data), plan.utility.delta
    build_task(sites.task_spec(data, plan.model))
    if len(data.splits["test"]) == 0:
        raise DataError(f"data {data.name!r}: expected images in the split test to measure accuracy on, got none")
    store, started = Store(Path(out)), _now()
    jobs = federated_jobs(plan, fingerprint(data))
    with store.exclusive():
        train_federations(plan, jobs, store, lambda what, done: progress(what, done / len(jobs)))
        rows = [_rows(job, map(_round, rounds_of(store.read_json(part, TRAINING)))) for part, job in jobs.items()]
        clients = [_rows(job, map(_client, proven_clients(store, p, job, delta))) for p, job in jobs.items()]
        store.write_table("rounds.parquet", list(chain(*rows)), ROUNDS)
        store.write_table("clients.parquet", list(chain(*clients)), CLIENTS)
        last = [
            of[-1] | {"diverged": "accuracy" not in of[-1]} | _stated(proven)
            for of, proven in zip(rows, clients, strict=True)
        ]
        facts = {**software(), "started": started, "finished": _now()}
        store.write_json("federated.json", {"schema": 1, "plan": plain(plan), "facts": facts, "trainings": last})
    progress("done", 1.0)
    return Path(out)


def _rows(job: Job, found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"defense": label("defenses", job.defense), "seed": job.seed, **one} for one in found]


def _round(done: Mapping[str, Any]) -> dict[str, Any]:
    return {"round": done["number"], **done["scores"], **done["traffic"]}


def _client(one: ClientPrivacy) -> dict[str, Any]:
    plain = asdict(one)
    return plain | plain.pop("guarantee")


def _stated(clients: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the largest epsilon of a client, and that of each."""
    columns = ("client", "images", "agreed", "rounds", "epsilon", "accountant")
    return {
        "epsilon": max((client["epsilon"] for client in clients), default=None),
        "delta": clients[0]["delta"] if clients else None,
        "epsilon_of_clients": [{name: client[name] for name in columns} for client in clients],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
