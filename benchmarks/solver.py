"""How fast the solvers are, beside the published loop and PyTorch's L-BFGS.

    python -m benchmarks.solver [--quick] [--victims 16] [--only matching|dlg]

First table: cosine matching on ``convnet``, milliseconds per victim and iteration, for the loop that published code
runs (one victim at a time, ``autograd.grad(create_graph=True)`` and ``backward()``) and for the forms of the solver;
medians over iterations.
Second table: seconds until every victim of DLG on ``lenet`` is at 40 dB, for ``torch.optim.LBFGS`` on one victim after
the other and for the batched L-BFGS.
"""

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from leakward.attacks.searching.matching import cosine_distance, squared_distance
from leakward.attacks.searching.replay import gather
from leakward.attacks.solvers import LBFGS, Draws, Problem
from leakward.attacks.solvers.evaluate import Evaluate, Strategy, build
from leakward.attacks.solvers.problem import Victim
from leakward.data import load_data
from leakward.errors import LeakwardError
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import Observation, ThreatModel, observe
from leakward.types import Batch, Tensors, generator

CLASSES, GOAL, ATTEMPTS = 8, 40.0, 4
"""Classes of the classifier, the PSNR in dB at which DLG has succeeded, and the starts it has for that."""
TOLERANCE = 1e-6
"""The objective at which a run of DLG ends; a run that did not fall into a wrong minimum has 42 dB and more there."""
Method = Callable[[list[int], Tensor], tuple[Tensor, int]]
"""From the victims to solve and their starts to images and evaluations."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        victims: Solved together.
        side: Pixels.
        widths: Of ``convnet``.
        iterations: Measured per form, after one that is not.
        evaluations: At most, per victim of DLG.
        compiled: Whether the compiled form is measured as well.
    """

    victims: int
    side: int
    widths: tuple[int, ...]
    iterations: int
    evaluations: int
    compiled: bool


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only show that it runs: small sizes, nothing compiled")
    parser.add_argument("--victims", type=int, default=16)
    parser.add_argument("--only", choices=("matching", "dlg"), help="print one of the two tables")
    given = parser.parse_args()
    size = Size(given.victims, 28, (4, 8, 16), 10, 3000, compiled=True)
    if given.quick:
        size = Size(min(given.victims, 2), 12, (2,), 2, 60, compiled=False)
    console = Console()
    images = load_images(size)
    for name, measure in (("matching", matching_table), ("dlg", dlg_table)):
        if given.only in (None, name):
            console.print(measure(size, images))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"peak memory {peak:.2f} GiB, {torch.get_num_threads()} threads, torch {torch.__version__}")


def load_images(size: Size) -> Tensor:
    """Return one image per victim: phantom data, or smooth noise where there is none."""
    try:
        images = load_data("phantom", size=size.side, count=4 * size.victims).images[: size.victims]
    except (LeakwardError, ImportError):
        coarse = torch.rand(size.victims, 3, 7, 7, generator=generator(0))
        return F.interpolate(coarse, size.side, mode="bicubic").clamp(0, 1)
    return images


def victims_of(model: str, images: Tensor, **options: int) -> tuple[list[Observation], Tensor]:
    """Return what is seen of one round per image, and the labels."""
    _, channels, height, width = images.shape
    task = build_task(TaskSpec(model, (channels, height, width), CLASSES, options))
    state, labels = initial_state(task, generator(0)), torch.arange(len(images)) % CLASSES
    rounds = [
        run_round(task, state, Batch(image[None], label[None]), LocalTraining(), NoDefense(), generator(0))
        for image, label in zip(images, labels, strict=True)
    ]
    return [observe(round_, ThreatModel(labels=True)) for round_ in rounds], labels


def matching_table(size: Size, images: Tensor) -> Table:
    """Measure cosine matching."""
    table = Table(
        "convnet width", "form", "ms per victim-iteration", "victim-iterations per s", "times (a)", "set-up, s"
    )
    for width in size.widths:
        observations, labels = victims_of("convnet", images, width=width)
        start = torch.rand(images.shape, generator=generator(1))
        base = published(size, observations, labels, start)
        add(table, width, "(a) published loop", base, base)
        problem = matching_problem(observations, start)
        forms: list[tuple[str, Strategy]] = [("(b) loop", "loop"), ("(c) vmap", "vmap"), ("(d) traced", "trace")]
        if size.compiled:
            forms.append(("(e) compiled", "compile"))
        for name, strategy in forms:
            seconds, first = steady(size, build(problem, strategy), problem)
            add(
                table,
                width,
                name,
                seconds,
                base,
                max(0.0, first - seconds) if strategy in ("trace", "compile") else None,
            )
    return table


def add(table: Table, width: int, name: str, seconds: float, base: float, compiling: float | None = None) -> None:
    """Add one row; ``seconds`` and ``base`` are per victim and iteration."""
    extra = "" if compiling is None else f"{compiling:.1f}"
    table.add_row(str(width), name, f"{1e3 * seconds:.2f}", f"{1 / seconds:.0f}", f"{base / seconds:.1f}", extra)


def published(size: Size, observations: list[Observation], labels: Tensor, start: Tensor) -> float:
    """Return seconds per victim and iteration of the loop as published, written plainly."""
    task, state = observations[0].task, observations[0].state
    parameters = {name: state[name].clone().requires_grad_() for name in task.parameter_names}
    names, used = list(parameters), list(parameters.values())
    seconds: list[float] = []
    for observation, label, first in zip(observations, labels, start, strict=True):
        x = first[None].clone().requires_grad_()
        optimizer = torch.optim.Adam([x], lr=0.1)
        for iteration in range(size.iterations + 1):
            began = time.perf_counter()
            optimizer.zero_grad()
            loss = F.cross_entropy(functional_call(task.model, parameters, (x,)), label[None])
            gradient = torch.autograd.grad(loss, used, create_graph=True)
            cosine_distance(dict(zip(names, gradient, strict=True)), observation.update.tensors).backward()
            optimizer.step()
            if iteration:  # the first warms up
                seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def matching_problem(observations: list[Observation], start: Tensor) -> Problem:
    """Return the same objective for the solver."""
    victims = gather(observations, restarts=1, averaged=1)

    def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
        found = victims.replay.message(candidate["images"], victim["labels"], victim, draws)
        return cosine_distance(found, victim["message"])

    return Problem(objective, {"images": start[:, None]}, victims.for_trials())


def steady(size: Size, evaluate: Evaluate, problem: Problem) -> tuple[float, float]:
    """Return seconds per victim and iteration in the steady state, and of the first call as a whole."""
    taken: list[float] = []
    for _ in range(size.iterations + 1):
        began = time.perf_counter()
        evaluate(problem.start, problem.victims, ())
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:]) / problem.trials, taken[0]


def dlg_table(size: Size, images: Tensor) -> Table:
    """Measure DLG with known labels until every victim is at the goal, from new starts where one start fails."""
    observations, labels = victims_of("lenet", images)

    def batched(pending: list[int], start: Tensor) -> tuple[Tensor, int]:
        return together(size, [observations[i] for i in pending], start)

    def one_by_one(pending: list[int], start: Tensor) -> tuple[Tensor, int]:
        runs = [torch_lbfgs(size, observations[i], labels[i], first) for i, first in zip(pending, start, strict=True)]
        return torch.stack([found for found, _ in runs]), sum(count for _, count in runs)

    table = Table("DLG on lenet", "seconds", f"victims at {GOAL:.0f} dB", "evaluations", "ms each", "times")
    taken: list[float] = []
    rows: dict[str, Method] = {"torch L-BFGS one by one": one_by_one, "batched L-BFGS": batched}
    for name, method in rows.items():
        seconds, solved, evaluations = until_solved(method, images)
        taken.append(seconds)
        each = f"{1e3 * seconds / evaluations:.2f}"
        table.add_row(name, f"{seconds:.1f}", f"{solved}", f"{evaluations}", each, f"{taken[0] / seconds:.1f}")
    return table


def until_solved(method: Method, images: Tensor) -> tuple[float, int, int]:
    """Return seconds, victims solved and evaluations; victims that fail begin again from the next start."""
    pending, evaluations, began = list(range(len(images))), 0, time.perf_counter()
    for attempt in range(ATTEMPTS):
        start = torch.randn(images.shape, generator=generator(2 + attempt))
        found, count = method(pending, start[pending])
        evaluations += count
        pending = [i for i, x in zip(pending, found, strict=True) if not psnr(x, images[i]) >= GOAL]
        if not pending:
            break
    return time.perf_counter() - began, len(images) - len(pending), evaluations


def together(size: Size, observations: list[Observation], start: Tensor) -> tuple[Tensor, int]:
    """Return what the batched solver finds, and its evaluations."""
    victims = gather(observations, restarts=1, averaged=1)

    def objective(candidate: Tensors, victim: Victim, draws: Draws) -> Tensor:
        found = victims.replay.message(candidate["images"], victim["labels"], victim, draws)
        return squared_distance(found, victim["message"])

    problem = Problem(objective, {"images": start[:, None]}, victims.for_trials())
    solution = LBFGS(size.evaluations, tolerance=TOLERANCE).solve(problem, generator(0))
    return solution.best["images"][:, 0], sum(solution.evaluations)


def torch_lbfgs(size: Size, observation: Observation, label: Tensor, first: Tensor) -> tuple[Tensor, int]:
    """Return what ``torch.optim.LBFGS`` finds as published code uses it, and its evaluations."""
    task = observation.task
    parameters = {name: observation.state[name].clone().requires_grad_() for name in task.parameter_names}
    x = first[None].clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x], lr=1, history_size=100, max_iter=20, tolerance_grad=0, tolerance_change=0)
    count, reached = 0, math.inf

    def closure() -> Tensor:
        nonlocal count, reached
        count += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(functional_call(task.model, parameters, (x,)), label[None])
        gradient = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        distance = squared_distance(dict(zip(parameters, gradient, strict=True)), observation.update.tensors)
        distance.backward()
        reached = float(distance.detach())
        return distance.detach()

    while count < size.evaluations and torch.isfinite(x).all() and reached > TOLERANCE:
        before = x.detach().clone()
        optimizer.step(closure)
        if torch.equal(before, x):
            break
    return x.detach()[0], count


def psnr(found: Tensor, image: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(-10 * (found.clamp(0, 1) - image).square().mean().log10())


if __name__ == "__main__":
    main()
