"""``audit``: attack every cell of a plan, train for utility, and write the run folder.

Everything expensive is a part of the run folder, made once and never half: an audit that was stopped in any way goes on
where it stopped, and ends with the tables of one that was not.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from leakward.auditing.attacking import NOTHING_SENT, Classifier, attack_victims
from leakward.auditing.cell import Cell, cell_id, cells, factors
from leakward.auditing.facts import device as device_named
from leakward.auditing.facts import facts
from leakward.auditing.parts import label
from leakward.auditing.plan import Plan, make_plan, plain, quick_plan
from leakward.auditing.site import Site, open_site
from leakward.auditing.store import CELLS, SCORES, UTILITY, Store
from leakward.auditing.summary import summarise_run
from leakward.auditing.trainings import Trainings
from leakward.auditing.utility import predict
from leakward.errors import DivergedError
from leakward.federated import Defense
from leakward.metrics import moments
from leakward.models import Task
from leakward.training import sites
from leakward.types import Tensors

Report = Callable[[str, float], None]
"""Called with what is being done and the fraction of the whole audit that is done, in [0, 1]."""
CELL, PICTURES = "cell.json", "images.safetensors"

CELL_FACTS = ("status", "victims", "seconds", "class_f1", "members")
"""What a cell reports beside its factors and scores."""


def audit(
    plan: Plan | Mapping[str, Any] | None = None,
    out: Path | str = "runs/audit",
    *,
    device: str = "cpu",
    progress: Report = lambda _, __: None,
) -> Path:
    """Run a plan, or go on with it, and return the run folder.

    Args:
        plan: A ``Plan``, its plain tables, or None for the built-in quick plan.
        out: Run folder; parts already there are kept.
        device: ``cpu`` or ``cuda``.
        progress: Called as the audit goes on.

    Raises:
        LeakwardError: If something is wrong that the user can mend; the message is one sentence.
    """
    if not isinstance(plan, Plan):
        plan = make_plan(quick_plan() if plan is None else plan)
    site, store = open_site(plan, device_named(device)), Store(Path(out))
    with store.exclusive():
        _Run(plan, site, store, progress).execute()
    return Path(out)


class _Run:
    """One audit on its way."""

    def __init__(self, plan: Plan, site: Site, store: Store, progress: Report) -> None:
        self.plan, self.site, self.store, self.progress = plan, site, store, progress
        self.cells = [(cell_id(plan, cell, site.fingerprint), cell) for cell in cells(plan)]
        self.trainings = Trainings(plan, site, store, self._defense)
        self.done = 0
        self.gallery = moments(site.gallery)
        self.prepared: dict[tuple[Defense, int], Defense] = {}

    def execute(self) -> None:
        started = _now()
        self.store.withdraw("summary.json")  # it vouches for the tables, which are about to change
        self.store.write_json("plan.json", {"plan": plain(self.plan), "facts": facts(self.site, started, None)})
        if not self.plan.audit.images:
            self.store.drop(PICTURES)
        self.trainings.make(self._tell)
        self.done = len(self.trainings.parts)
        kept = (CELL, PICTURES) if self.plan.audit.images else (CELL,)
        for part, cell in self.cells:
            what = f"{label('attacks', cell.attack)} on {label('defenses', cell.defense)}, {cell.knowledge}"
            what += f", after {cell.after_rounds} rounds" if cell.after_rounds else ""
            self._step(what, part, kept, lambda p, c=cell: self._attack(p, c))
        summary = self._write_tables()
        self.store.write_json("plan.json", {"plan": plain(self.plan), "facts": facts(self.site, started, _now())})
        self.store.write_json("summary.json", summary)
        self.progress("done", 1.0)

    def _step(self, what: str, part: str, kept: tuple[str, ...], make: Callable[[str], None]) -> None:
        self._what = what
        self._within(0.0)
        if not self.store.has(part, *kept):
            make(part)
        self.done += 1

    def _within(self, fraction: float) -> None:
        self._tell(self._what, self.done + fraction)

    def _tell(self, what: str, done: float) -> None:
        self.progress(what, done / (len(self.cells) + len(self.trainings.parts)))

    def _defense(self, defense: Defense, seed: int) -> Defense:
        """Return the defence fitted on the site's images."""
        key = (defense, seed)
        if key not in self.prepared:
            task, _ = self.site.start(defense, seed)
            self.prepared[key] = sites.prepare(defense, task, self.site.data, seed)
        return self.prepared[key]

    def _attack(self, part: str, cell: Cell) -> None:
        defense = self._defense(cell.defense, cell.seed)
        classifier = self._classifier(cell.seed)
        try:
            start = self._start(cell, defense)
        except DivergedError:
            attacked = NOTHING_SENT
        else:
            attacked = attack_victims(
                self.plan, self.site, part, cell, defense, start, self.gallery, classifier, self._within
            )
        with self.store.new_part(part) as folder:
            Store.dump(folder / CELL, attacked.facts)
            if self.plan.audit.images and attacked.pictures:
                save_file(attacked.pictures, folder / PICTURES)

    def _start(self, cell: Cell, defense: Defense) -> tuple[Task, Tensors]:
        """Return the network, and the weights that the server has when the updates of a cell are sent."""
        task, state = self.site.start(defense, cell.seed)
        if cell.after_rounds:
            trained = self.trainings.after(cell.after_rounds, cell.defense, cell.seed)
            state = {name: trained[name].to(self.site.device) for name in state}  # a file keeps no order
        return task, state

    def _classifier(self, seed: int) -> Classifier | None:
        """Return the undefended model of this seed as a reader of reconstructions."""
        state = self.trainings.undefended(seed)
        return None if state is None else lambda images: predict(self.site.task, state, images)

    def _write_tables(self) -> dict[str, Any]:
        """Write the tables and return the summary made of them."""
        cell_rows: list[dict[str, Any]] = []
        score_rows: list[dict[str, Any]] = []
        checks: list[list[Any]] = []
        honest = next((attack for attack in self.plan.attacks if not attack.active), None)
        for part, cell in self.cells:
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
