"""``estimate``: what an audit will take, measured on this machine by a few steps of everything that it does.

Each defence is fitted, trained with, and attacked by every attack at every level, on as many victims and from as many
starts as the plan says, so that the memory is that of the audit; only long loops are cut short, as ``leakward.pace``
has it. Seeds, and moments of a training, count as often as there are. An attack that ends when it has found its answer
may take less.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import torch

from leakward import __version__
from leakward.auditing.attacking import attack_victims
from leakward.auditing.bench import one_thread
from leakward.auditing.cell import Cell, cells
from leakward.auditing.crew import most_processes
from leakward.auditing.facts import device as device_named
from leakward.auditing.forecast import MIB, Estimate, Forecast, Kind, Meter, metered
from leakward.auditing.plan import Plan, make_plan, plain
from leakward.auditing.site import Site, open_site
from leakward.auditing.store import Store
from leakward.auditing.utility import train
from leakward.errors import DefenseError
from leakward.federated import Defense, LocalTraining, client_round, draw_sample
from leakward.metrics import moments
from leakward.pace import clock
from leakward.parts import label
from leakward.streams import stream
from leakward.tape import Tape
from leakward.training import FederationSettings, Job, sites
from leakward.training.evaluation import scores

ESTIMATE = "estimate.json"
FEW = 64
"""Images that a client of a federation is measured on, if its defence does with so few."""


def estimate(
    plan: Plan | Mapping[str, Any],
    out: Path | str,
    *,
    device: str = "cpu",
    progress: Callable[[str, float], None] = lambda _, __: None,
) -> Estimate:
    """Measure what a plan will take, and keep it in the run folder as ``estimate.json``.

    Args:
        plan: A ``Plan``, or its plain tables.
        out: Run folder; nothing else in it changes.
        device: ``cpu`` or ``cuda``.
        progress: Called with what is being measured and the fraction of all that is measured, in [0, 1].

    Raises:
        LeakwardError: If something is wrong that the user can mend; the message is one sentence.
    """
    if not isinstance(plan, Plan):
        plan = make_plan(plan)
    site, store = open_site(plan, device_named(device)), Store(Path(out))
    with one_thread():
        forecasts = tuple(_Probe(plan, site).forecasts(progress))
    found = _together(site.device, forecasts)
    store.write_json(ESTIMATE, {"schema": 1, "leakward": __version__, "plan": plain(plan), **asdict(found)})
    progress("done", 1.0)
    return found


def _together(device: torch.device, forecasts: tuple[Forecast, ...]) -> Estimate:
    """Add up: kind after kind, each shared among processes as far as there are parts."""
    processes = most_processes(device, max(forecast.mib for forecast in forecasts) * MIB)
    wait = 0.0
    for kind in get_args(Kind):
        own = [forecast for forecast in forecasts if forecast.kind == kind]
        longest = max((forecast.seconds / forecast.parts for forecast in own), default=0.0)
        wait += max(longest, sum(forecast.seconds for forecast in own) / processes)
    return Estimate(forecasts, processes, sum(forecast.seconds for forecast in forecasts), wait)


class _Probe:
    """Measures the parts of one plan."""

    def __init__(self, plan: Plan, site: Site) -> None:
        self.plan, self.site, self.seed = plan, site, plan.audit.seeds[0]
        self.gallery = moments(site.gallery)
        self.fitted: dict[Defense, Defense] = {}

    def forecasts(self, progress: Callable[[str, float], None]) -> Iterator[Forecast]:
        """Yield a forecast for each kind of part."""
        steps = [*self._steps()]
        for number, (blank, measure) in enumerate(steps):
            progress(f"measuring {blank.what}", number / len(steps))
            with metered(self.site.device) as meter:
                done = measure(meter)
            if done:
                evaluations = round(meter.evaluations * blank.parts)
                yield replace(blank, seconds=meter.seconds * blank.parts, evaluations=evaluations, mib=meter.mib)

    def _steps(self) -> Iterator[tuple[Forecast, Callable[[Meter], bool]]]:
        """Yield what there is to measure, without numbers yet, and how; it returns whether there was anything to do."""
        plan, seeds = self.plan, len(self.plan.audit.seeds)
        for defense in plan.defenses:
            yield Forecast("fitting", label("defenses", defense), parts=seeds), partial(self._fit, defense)
        for defense in plan.defenses if plan.utility.epochs else ():
            yield Forecast("training", label("defenses", defense), parts=seeds), partial(self._train, defense)
        _, grid = next(groupby(cells(plan), key=lambda cell: (cell.seed, cell.after_rounds)))
        for cell in grid:
            named = label("defenses", cell.defense), label("attacks", cell.attack), cell.knowledge
            yield Forecast("cell", *named, parts=seeds * len(plan.audit.after_rounds)), partial(self._attack, cell)

    def _fit(self, defense: Defense, meter: Meter) -> bool:
        del meter
        task, _ = self.site.start(defense, self.seed)
        self.fitted[defense] = sites.prepare(defense, task, self.site.data, self.seed, self.plan.audit.client)
        return self.fitted[defense] is not defense

    def _train(self, defense: Defense, meter: Meter) -> bool:
        if self.plan.federation is None:
            train(self.plan, self.site, self.fitted[defense], self.seed, lambda _: None)
        else:
            meter.seconds = self._federated(defense, self.plan.federation)
        return True

    def _attack(self, cell: Cell, meter: Meter) -> bool:
        fitted, start = self.fitted[cell.defense], (*self.site.start(cell.defense, cell.seed), None)
        found = attack_victims(self.plan, self.site, "", cell, fitted, start, self.gallery, None, lambda _: None)
        meter.seconds = found.facts["seconds"]  # as a cell counts its own
        return True

    def _federated(self, defense: Defense, federation: FederationSettings) -> float:
        """Return the seconds of a federation's training, from one client on few images and one test of the model."""
        plan, site = self.plan, self.site
        job = Job(plan.data, plan.model, plan.recipe, defense, federation, self.seed)
        images, labels = site.data.subset("train")
        recipe = _small(job, plan.audit.client, len(images))
        (task, state), count, rng = site.start(defense, self.seed), recipe.batch_images, stream("estimate")
        state = {name: value.cpu() for name, value in state.items()}
        sample = draw_sample(task, recipe, defense, count, rng)
        begin = clock()
        client_round(task, state, images[:count], labels[:count], recipe, self.fitted[defense], Tape(rng), None, sample)
        trained = clock()
        scores(self.fitted[defense].on_task(task), state, *site.data.subset("test"))
        tested = clock()
        held = [len(share) for share in sites.shares(sites.load(plan.data), plan.data)]
        asked = federation.fraction * sum(job.recipe_of(*one).batch_images for one in enumerate(held))
        return federation.rounds * ((trained - begin) / count * asked + tested - trained)


def _small(job: Job, client: int, most: int) -> LocalTraining:
    """Return what a client does in a round with few images, or with ``most`` where its defence needs more."""
    try:
        return job.recipe_of(client, min(FEW, most))
    except DefenseError:
        return job.recipe_of(client, most)
