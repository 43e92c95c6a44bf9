"""The trainings of a run, one for every defence and seed: by all clients of a federation, or by the site alone.

Each is a part of the run folder, as everything expensive is; the engine of a federation starts once for all that miss.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save_file

from leakward.auditing.cell import training_id
from leakward.auditing.proven import proven_clients
from leakward.auditing.site import Site
from leakward.auditing.store import Store
from leakward.auditing.tables import Plan
from leakward.auditing.utility import guarantee, train
from leakward.errors import DivergedError
from leakward.federated import Defense, Guarantee, NoDefense
from leakward.parts import label
from leakward.training import Job, TrainingResult, helpers
from leakward.training.client import require_able
from leakward.training.engine import train as train_jobs
from leakward.types import Tensors

TRAINING, STATE = "training.json", "state.safetensors"
Progress = Callable[[str, float], None]
"""Called with what is being done, and how many of the trainings are done; a part of one counts."""


class TrainedWith(NamedTuple):
    """The defence and the seed of one training."""

    defense: Defense
    seed: int


def named(plan: Plan, fingerprint: str) -> dict[str, TrainedWith]:
    """Return every training by its part."""
    return {
        training_id(plan, defense, seed, fingerprint): TrainedWith(defense, seed)
        for seed in plan.audit.seeds
        for defense in plan.defenses
    }


def federated_jobs(plan: Plan, fingerprint: str) -> dict[str, Job]:
    """Return part and job of every training of a plan with a federation."""
    assert plan.federation is not None
    return {
        part: Job(plan.data, plan.model, plan.recipe, own.defense, plan.federation, own.seed, plan.kept_rounds)
        for part, own in named(plan, fingerprint).items()
    }


def rounds_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rounds of a training as it was kept; one that gave no finite model is the last, without scores."""
    diverged = found.get("diverged")
    return [*found["rounds"], *([{"number": diverged, "scores": {}, "traffic": {}}] if diverged else [])]


def _there(store: Store, part: str, kept: Iterable[int], private: bool) -> bool:
    """Return whether a training that keeps the weights after some rounds, and helpers, is there, as far as it came."""
    if not store.has(part, TRAINING, STATE):
        return False
    found = store.read_json(part, TRAINING)
    diverged = found.get("diverged") or math.inf
    states = (_state_after(number) for number in kept if number < diverged)
    return (not private or found.get("private", False)) and store.has(part, *states)


def _state_after(number: int) -> str:
    return f"state-{number}.safetensors"


def train_federations(plan: Plan, jobs: Mapping[str, Job], store: Store, progress: Progress) -> None:
    """Train the jobs of a plan whose parts are not there yet.

    Raises:
        DefenseError: If some client cannot do what a defence asks for.
    """
    private = {part for part, job in jobs.items() if plan.keeps_private(job.defense)}
    missing = [part for part, job in jobs.items() if not _there(store, part, job.kept, part in private)]
    if not missing:
        return
    for part in missing:  # what a client cannot do need not wait for the engine
        require_able(jobs[part])

    def keep(place: int, result: TrainingResult) -> None:
        part = missing[place]
        facts = {"rounds": [asdict(done) for done in result.rounds], "diverged": result.diverged}
        with _keep(store, part, facts | {"private": part in private}, result.state, result.kept) as folder:
            for file in (scratch / part).glob("private-*"):
                file.rename(folder / file.name)

    def tell(place: int, what: str, fraction: float) -> None:
        name = label("defenses", jobs[missing[place]].defense)
        progress(f"federation with {name}: {what}", len(jobs) - len(missing) + place + fraction)

    with store.scratch() as scratch:
        train_jobs([_told(jobs[part], scratch / part, part in private) for part in missing], keep, tell)


def _told(job: Job, folder: Path, private: bool) -> Job:
    """Return a job that says where clients write their helpers, if they are to."""
    return replace(job, helpers=str(folder.absolute())) if private else job


@dataclass(frozen=True, eq=False)
class Trainings:
    """Those of one audit.

    Attributes:
        plan: Of the audit.
        site: Under audit.
        store: Where they are kept.
        prepared: Returns a defence as fitted on the site's images for a seed.
    """

    plan: Plan
    site: Site
    store: Store
    prepared: Callable[[Defense, int], Defense]

    @cached_property
    def parts(self) -> dict[str, TrainedWith]:
        """Return each by its part; none where the plan leaves utility out."""
        return named(self.plan, self.site.trained) if self.plan.utility.epochs else {}

    def there(self, part: str) -> bool:
        """Return whether a training is made, with the weights and the helpers that the plan keeps."""
        return _there(self.store, part, self.plan.kept_rounds, self.plan.keeps_private(self.parts[part].defense))

    def federate(self, progress: Progress) -> None:
        """Train what a federation has to and is not there yet, all at once."""
        if self.parts and self.plan.federation is not None:
            train_federations(self.plan, federated_jobs(self.plan, self.site.trained), self.store, progress)

    def train(self, part: str, progress: Callable[[float], None]) -> None:
        """Train what the site trains alone."""
        defense, seed = self.parts[part]
        training = train(self.plan, self.site, self.prepared(defense, seed), seed, progress)
        proven = guarantee(self.plan, self.site, defense)
        rounds = [{"number": n, "scores": asdict(scores)} for n, scores in enumerate(training.scores, start=1)]
        facts = {"rounds": rounds, "diverged": training.diverged, "guarantee": self._stated(proven), "private": True}
        with _keep(self.store, part, facts, training.state, training.kept) as folder:
            for number, private in training.private.items():
                helpers.write(folder, number, self.plan.audit.client, private)

    def undefended(self, seed: int) -> Tensors | None:
        """Return the weights that training without a defence ended with, or None where it did not or there was none."""
        try:
            return self.after(self.plan.training_rounds, NoDefense(), seed) if self.parts else None
        except DivergedError:
            return None

    def after(self, number: int, defense: Defense, seed: int) -> Tensors:
        """Return the weights after so many rounds of the training with ``defense``.

        Raises:
            DivergedError: If it did not come so far.
        """
        part = self._part(defense, seed)
        diverged = self.store.read_json(part, TRAINING).get("diverged")
        if diverged and number >= diverged:
            raise DivergedError(
                f"training with {label('defenses', defense)}: expected a model after round {number}, got none, for "
                f"round {diverged} gave no finite one; lower [audit] after_rounds, or the noise"
            )
        return load_file(self.store.parts / part / (_state_after(number) if number in self.plan.kept_rounds else STATE))

    def private_after(self, number: int, defense: Defense, seed: int) -> Tensors | None:
        """Return the helpers that the site has kept from so many rounds of that training; None if it has none."""
        return helpers.read(self.store.parts / self._part(defense, seed), number, self.plan.audit.client)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for every round."""
        rows: list[dict[str, Any]] = []
        clients = 1 if self.plan.federation is None else self.plan.data.clients
        proven = self._proven() if self.parts else {}
        for part, (defense, seed) in self.parts.items():
            found = self.store.read_json(part, TRAINING)
            rounds = rounds_of(found)
            common = {"defense": label("defenses", defense), "seed": seed, "clients": clients}
            common |= {"rounds": len(rounds), **found.get("guarantee", proven.get(part, {}))}
            rows += [common | {"round": done["number"], **done["scores"]} for done in rounds]
        return rows

    def _part(self, defense: Defense, seed: int) -> str:
        return next(part for part, own in self.parts.items() if own == (defense, seed))

    def _proven(self) -> dict[str, dict[str, Any]]:
        """Return what a federation's trainings prove for the images of the site, by part."""
        if self.plan.federation is None:
            return {}
        jobs, client = federated_jobs(self.plan, self.site.trained), self.plan.audit.client
        found = {p: proven_clients(self.store, p, job, self.plan.utility.delta) for p, job in jobs.items()}
        return {part: self._stated(one.guarantee) for part, of in found.items() for one in of if one.client == client}

    def _stated(self, proven: Guarantee | None) -> dict[str, Any]:
        if proven is None:
            return {}
        return {
            **{name: getattr(proven, name) for name in ("epsilon", "delta", "accountant")},
            "identified_bound": proven.reconstruction_bound(1 / len(self.site.gallery)),
        }


@contextmanager
def _keep(
    store: Store, part: str, facts: Mapping[str, Any], state: Tensors, kept: Mapping[int, Tensors]
) -> Generator[Path]:
    """Write a training, and yield its folder for what else belongs there."""
    states = {STATE: state} | {_state_after(number): of for number, of in kept.items()}
    with store.new_part(part) as folder:
        Store.dump(folder / TRAINING, facts)
        for name, of in states.items():
            save_file({tensor: value.cpu().contiguous() for tensor, value in of.items()}, folder / name)
        yield folder
