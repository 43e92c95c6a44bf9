"""``audit``: attack every cell of a plan, train for utility, and write the run folder.

Everything expensive is a part of the run folder, made once and never half: an audit that was stopped in any way goes on
where it stopped, and ends with the tables of one that was not.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leakward.auditing.bench import CELL, PICTURES, Bench, open_bench
from leakward.auditing.cell import factors
from leakward.auditing.cluster import cluster
from leakward.auditing.crew import crew
from leakward.auditing.facts import facts
from leakward.auditing.plan import Plan, make_plan, plain, quick_plan
from leakward.auditing.store import CELLS, SCORES, UTILITY
from leakward.auditing.summary import summarise_run

Report = Callable[[str, float], None]
"""Called with what is being done and the fraction of the whole audit that is done, in [0, 1]."""

CELL_FACTS = ("status", "victims", "seconds", "class_f1", "members")
"""What a cell reports beside its factors and scores."""


def audit(
    plan: Plan | Mapping[str, Any] | None = None,
    out: Path | str = "runs/audit",
    *,
    trainings: Path | str | None = None,
    device: str = "cpu",
    ray: str | None = None,
    progress: Report = lambda _, __: None,
) -> Path:
    """Run a plan, or go on with it, and return the run folder.

    Args:
        plan: A ``Plan``, its plain tables, or None for the built-in quick plan.
        out: Run folder; parts already there are kept.
        trainings: Folder in which trained networks are kept, where several audits share them; else the run folder.
        device: ``cpu`` or ``cuda``.
        ray: Address of the Ray cluster that makes the parts; None for this machine.
        progress: Called as the audit goes on.

    Raises:
        LeakwardError: If something is wrong that the user can mend; the message is one sentence.
    """
    if not isinstance(plan, Plan):
        plan = make_plan(quick_plan() if plan is None else plan)
    bench = open_bench(plan, Path(out), device, None if trainings is None else Path(trainings))
    with bench.store.exclusive(), bench.trained.exclusive() if bench.trained is not bench.store else nullcontext():
        _Run(bench, ray, progress).execute()
    return Path(out)


class _Run:
    """One audit on its way."""

    def __init__(self, bench: Bench, ray: str | None, progress: Report) -> None:
        self.bench, self.ray, self.progress = bench, ray, progress
        self.plan, self.site, self.store, self.trainings = bench.plan, bench.site, bench.store, bench.trainings
        self.count = len(self.trainings.parts) + len(bench.cells)

    def execute(self) -> None:
        started = _now()
        self.store.withdraw("summary.json")  # it vouches for the tables, which are about to change
        self.store.write_json("plan.json", {"plan": plain(self.plan), "facts": facts(self.site, started, None)})
        if not self.plan.audit.images:
            self.store.drop(PICTURES)
        self._make_parts()
        summary = self._write_tables()
        self.store.write_json("plan.json", {"plan": plain(self.plan), "facts": facts(self.site, started, _now())})
        self.store.write_json("summary.json", summary)
        self.progress("done", 1.0)

    def _make_parts(self) -> None:
        """Make what is not there yet: the trainings, and then the cells, which need them."""
        self.trainings.federate(lambda what, done: self.progress(what, done / self.count))
        trainings, cells = self._missing(self.trainings.parts), self._missing(self.bench.cells)
        if not trainings and not cells:
            return
        there = self.count - len(trainings) - len(cells)
        with crew(self.bench) if self.ray is None else cluster(self.bench, self.ray) as make:
            make(trainings, lambda part, done: self._tell(part, there + done))
            make(cells, lambda part, done: self._tell(part, there + len(trainings) + done))

    def _missing(self, parts: Mapping[str, Any]) -> list[str]:
        return [part for part in parts if not self.bench.there(part)]

    def _tell(self, part: str, done: float) -> None:
        self.progress(self.bench.what(part), done / self.count)

    def _write_tables(self) -> dict[str, Any]:
        """Write the tables and return the summary made of them."""
        cell_rows: list[dict[str, Any]] = []
        score_rows: list[dict[str, Any]] = []
        checks: list[list[Any]] = []
        honest = next((attack for attack in self.plan.attacks if not attack.active), None)
        for part, cell in self.bench.cells.items():
            found = self.store.read_json(part, CELL)
            row = {"id": part, **factors(self.plan, cell), **{k: found[k] for k in CELL_FACTS}}
            cell_rows.append(row)
            score_rows += [dict(zip(SCORES.names, values, strict=True)) for values in found["scores"]]
            if cell.attack == honest:  # all attacks of an honest server saw the same updates
                checks += found["checks"]
        utility_rows = self.trainings.rows()
        self.store.write_table("cells.parquet", cell_rows, CELLS)
        self.store.write_table("scores.parquet", score_rows, SCORES)
        self.store.write_table("utility.parquet", utility_rows, UTILITY)
        return summarise_run(self.plan, self.site, cell_rows, score_rows, utility_rows, checks)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
