"""``federate``: train the federation of a plan with every defence, and write how good the model is after each round.

A training is a part of the run folder, as everything expensive is; the engine starts once for all that are missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from leakward.auditing.cell import federation_id
from leakward.auditing.facts import software
from leakward.auditing.parts import label
from leakward.auditing.plan import Plan, make_plan, plain
from leakward.auditing.site import fingerprint
from leakward.auditing.store import ROUNDS, Store
from leakward.errors import DataError
from leakward.models import build_task
from leakward.training import Job, TrainingResult, sites
from leakward.training.engine import train

TRAINING, STATE = "federated.json", "state.safetensors"


def federate(
    plan: Plan | Mapping[str, Any], out: Path | str, *, progress: Callable[[str, float], None] = lambda _, __: None
) -> Path:
    """Train by ``[federation]`` with every defence and seed of a plan, or go on with it; return the run folder.

    It holds ``rounds.parquet``, ``federated.json`` and the last weights of each training.

    Args:
        plan: A ``Plan``, or its plain tables.
        out: Run folder; trainings already there are kept.
        progress: Called with what is being done and the fraction of all that is done, in [0, 1].

    Raises:
        LeakwardError: If something is wrong that the user can mend; the message is one sentence.
    """
    if not isinstance(plan, Plan):
        plan = make_plan(plan)
    data = sites.load(plan.data)
    sites.shares(data, plan.data)
    build_task(sites.task_spec(data, plan.model))
    if len(data.splits["test"]) == 0:
        raise DataError(f"data {data.name!r}: expected images in the split test to measure accuracy on, got none")
    store, started = Store(Path(out)), _now()
    jobs = {federation_id(plan, job.defense, job.seed, fingerprint(data)): job for job in _jobs(plan)}
    with store.exclusive():
        _train_missing(jobs, store, progress)
        rows = [_row(job, done) for part, job in jobs.items() for done in store.read_json(part, TRAINING)["rounds"]]
        store.write_table("rounds.parquet", rows, ROUNDS)
        last = [row for row in rows if row["round"] == plan.federation.rounds]
        facts = {**software(), "started": started, "finished": _now()}
        store.write_json("federated.json", {"schema": 1, "plan": plain(plan), "facts": facts, "trainings": last})
    progress("done", 1.0)
    return Path(out)


def _jobs(plan: Plan) -> list[Job]:
    return [
        Job(plan.data, plan.model, plan.recipe, defense, plan.federation, seed)
        for seed in plan.audit.seeds
        for defense in plan.defenses
    ]


def _train_missing(jobs: Mapping[str, Job], store: Store, progress: Callable[[str, float], None]) -> None:
    missing = [part for part in jobs if not store.has(part, TRAINING, STATE)]
    if not missing:
        return

    def keep(place: int, result: TrainingResult) -> None:
        with store.new_part(missing[place]) as folder:
            Store.dump(folder / TRAINING, {"rounds": [asdict(done) for done in result.rounds]})
            save_file({name: value.contiguous() for name, value in result.state.items()}, folder / STATE)

    def tell(place: int, what: str, fraction: float) -> None:
        name = label("defenses", jobs[missing[place]].defense)
        progress(f"federation with {name}: {what}", (len(jobs) - len(missing) + place + fraction) / len(jobs))

    train([jobs[part] for part in missing], keep, tell)


def _row(job: Job, done: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "defense": label("defenses", job.defense),
        "seed": job.seed,
        "round": done["number"],
        **done["scores"],
        **done["traffic"],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
