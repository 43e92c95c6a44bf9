"""``audit``: attack every cell of a plan, train for utility, and write the run folder.

Everything expensive is a part of the run folder, made once and never half: an audit that was stopped in any way goes on where it
stopped, and ends with the tables of one that was not.
"""

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from leakward import __version__
from leakward.attacks import Reconstruction, Status
from leakward.auditing.cell import Cell, cell_id, cells, factors, stream, training_id
from leakward.auditing.plan import Plan, label, make_plan, plain, quick_plan
from leakward.auditing.site import Site, open_site
from leakward.auditing.store import CELLS, SCORES, UTILITY, Store
from leakward.auditing.summary import summarise_run
from leakward.auditing.utility import predict, train
from leakward.errors import LeakwardError
from leakward.federated import Defense, NoDefense, Round
from leakward.metrics import ScoringContext, moments, score
from leakward.threat import ThreatModel, examine, observe
from leakward.types import Tensors

Report = Callable[[str, float], None]
"""Called with what is being done and the fraction of the whole audit that is done, in [0, 1]."""


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
    site = open_site(plan, _device(device))
    run = _Run(plan, site, Store(Path(out)), progress)
    run.execute()
    return Path(out)


class _Run:
    """One audit on its way."""

    def __init__(self, plan: Plan, site: Site, store: Store, progress: Report) -> None:
        self.plan, self.site, self.store, self.progress = plan, site, store, progress
        self.cells = [(cell_id(plan, cell, site.fingerprint), cell) for cell in cells(plan)]
        self.trainings = (
            [(training_id(plan, d, s, site.fingerprint), d, s) for s in plan.audit.seeds for d in plan.defenses]
            if plan.utility.epochs
            else []
        )
        self.done = 0
        self.gallery = moments(site.gallery)
        self.prepared: dict[tuple[Defense, int], Defense] = {}

    def execute(self) -> None:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.store.write_json("plan.json", {"plan": plain(self.plan), "facts": self._facts(started, None)})
        for part, defense, seed in self.trainings:
            self._step(f"training with {label('defenses', defense)}", part, lambda p, d=defense, s=seed: self._train(p, d, s))
        for part, cell in self.cells:
            what = f"{label('attacks', cell.attack)} on {label('defenses', cell.defense)}, {cell.knowledge}"
            self._step(what, part, lambda p, c=cell: self._attack(p, c))
        self._write_tables()
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self.store.write_json("plan.json", {"plan": plain(self.plan), "facts": self._facts(started, finished)})
        self.progress("done", 1.0)

    def _step(self, what: str, part: str, make: Callable[[str], None]) -> None:
        self._what = what
        self._within(0.0)
        if not self.store.has(part):
            make(part)
        self.done += 1

    def _within(self, fraction: float) -> None:
        self.progress(self._what, (self.done + fraction) / (len(self.cells) + len(self.trainings)))

    def _defense(self, defense: Defense, seed: int) -> Defense:
        """Return the defence fitted on the site's images."""
        key = (defense, seed)
        if key not in self.prepared:
            rng = stream("prepare", repr(defense), seed)
            self.prepared[key] = defense.prepare(self.site.task, self.site.data, rng)
        return self.prepared[key]

    def _train(self, part: str, defense: Defense, seed: int) -> None:
        training = train(self.plan, self.site, self._defense(defense, seed), seed, self._within)
        proven = training.guarantee
        facts = {
            "accuracy": training.accuracy,
            "f1_macro": training.f1_macro,
            "epsilon": proven.epsilon if proven else None,
            "delta": proven.delta if proven else None,
            "accountant": proven.accountant if proven else None,
        }
        with self.store.new_part(part) as folder:
            Store.dump(folder / "training.json", facts)
            save_file({name: value.cpu().contiguous() for name, value in training.state.items()}, folder / "state.safetensors")

    def _attack(self, part: str, cell: Cell) -> None:
        begin = time.perf_counter()
        state = self.site.initial_state(cell.seed)
        rounds = self.site.rounds(self.plan, self._defense(cell.defense, cell.seed), cell.seed, state)
        threat = ThreatModel(cell.knowledge, labels=self.plan.audit.labels == "granted")
        observations = [observe(round_, threat) for round_ in rounds]
        found = cell.attack.recover(observations, stream("attack", part), self._within)
        rows = self._scores(part, cell, rounds, found)
        facts = {
            "status": _status(found),
            "victims": sum(len(round_.batch) for round_ in rounds),
            "seconds": time.perf_counter() - begin,
            "checks": [[c.name, c.passed, c.finding] for o in observations for c in examine(o)]
            if cell.defense == NoDefense()
            else [],
            "scores": rows,
        }
        with self.store.new_part(part) as folder:
            Store.dump(folder / "cell.json", facts)
            if self.plan.audit.images:
                save_file(_pictures(rounds, found), folder / "images.safetensors")

    def _scores(
        self, part: str, cell: Cell, rounds: Sequence[Round], found: Sequence[Reconstruction]
    ) -> list[tuple[str, int, str, float]]:
        rows: list[tuple[str, int, str, float]] = []
        classifier = self._classifier(cell.seed)
        std = self.site.task.spec.std or (1.0,) * self.site.data.image_shape[0]
        victims = self.site.victims(self.plan, cell.seed)
        for number, (round_, guess) in enumerate(zip(rounds, found, strict=True)):
            if guess.images is None or guess.labels is None:
                continue
            context = ScoringContext(self.gallery, victims[number], self.site.mean_image, std, classifier)
            batch = round_.batch
            scores = score(batch.images.cpu(), batch.labels.cpu(), guess.images.cpu(), guess.labels.cpu(), context)
            for name, values in scores.items():
                first = number * len(batch)
                rows += [(part, first + i, name, float(value)) for i, value in enumerate(values)]
        return rows

    def _classifier(self, seed: int) -> Callable[[Tensor], Tensor] | None:
        """Return the undefended model of this seed as a reader of reconstructions."""
        parts = [part for part, defense, s in self.trainings if s == seed and defense == NoDefense()]
        if not parts:
            return None
        state: Tensors = load_file(self.store.parts / parts[0] / "state.safetensors")
        return lambda images: predict(self.site.task, state, images)

    def _write_tables(self) -> None:
        cell_rows: list[dict[str, Any]] = []
        score_rows: list[dict[str, Any]] = []
        checks: list[list[Any]] = []
        for part, cell in self.cells:
            facts = self.store.read_json(part, "cell.json")
            row = {"id": part, **factors(self.plan, cell), **{k: facts[k] for k in ("status", "victims", "seconds")}}
            cell_rows.append(row)
            score_rows += [dict(zip(SCORES.names, values, strict=True)) for values in facts["scores"]]
            checks += facts["checks"]
        utility_rows = self._utility_rows()
        self.store.write_table("cells.parquet", cell_rows, CELLS)
        self.store.write_table("scores.parquet", score_rows, SCORES)
        self.store.write_table("utility.parquet", utility_rows, UTILITY)
        summary = summarise_run(self.plan, self.site, cell_rows, score_rows, utility_rows, checks)
        self.store.write_json("summary.json", summary)

    def _utility_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for part, defense, seed in self.trainings:
            facts = self.store.read_json(part, "training.json")
            common = {"defense": label("defenses", defense), "seed": seed, "rounds": self.plan.utility.epochs, "clients": 1}
            common |= {key: facts[key] for key in ("epsilon", "delta", "accountant")}
            for number, (accuracy, f1) in enumerate(zip(facts["accuracy"], facts["f1_macro"], strict=True), start=1):
                rows.append(common | {"round": number, "accuracy": accuracy, "f1_macro": f1})
        return rows

    def _facts(self, started: str, finished: str | None) -> dict[str, Any]:
        data = self.site.data
        return {
            "leakward": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "platform": f"{platform.system()} {platform.machine()}",
            "device": str(self.site.device),
            "command": sys.argv[0].rsplit("/", 1)[-1],
            "data": {
                "name": data.name,
                "licence": data.licence,
                "citation": data.citation,
                "classes": list(data.classes),
                "shape": list(data.image_shape),
                "site_images": len(self.site.gallery),
                "public_images": len(data.splits["val"]),
            },
            "started": started,
            "finished": finished,
        }


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise LeakwardError("--device cuda: expected a CUDA device, found none; use --device cpu")
    if name not in ("cpu", "cuda"):
        raise LeakwardError(f"--device {name}: expected cpu or cuda")
    return torch.device(name)


def _status(found: Sequence[Reconstruction]) -> str:
    """Return ``ok``, the common failure, or how many victims ended well."""
    kinds = {guess.status for guess in found}
    if len(kinds) == 1:
        return str(kinds.pop())
    return f"{sum(guess.status == Status.OK for guess in found)} of {len(found)} ok"


def _pictures(rounds: Sequence[Round], found: Sequence[Reconstruction]) -> Tensors:
    """Return originals and reconstructions as 8-bit images (v c h w), black where an attack failed."""
    originals = torch.cat([round_.batch.images.cpu() for round_ in rounds])
    guesses = torch.cat(
        [
            torch.zeros_like(r.batch.images).cpu() if g.images is None else g.images.cpu()
            for r, g in zip(rounds, found, strict=True)
        ]
    )
    return {"originals": _bytes(originals), "reconstructions": _bytes(guesses)}


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8).contiguous()
