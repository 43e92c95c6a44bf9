"""What defences with a variational bottleneck share: putting it in, drawing its code, and keeping the code normal.

    z = mu + softplus(rho) e,   e ~ N(0, I);    KL = (1 / b ln 2) sum (mu^2 + s^2 - 1) / 2 - ln s,   s = softplus(rho)

The sum runs over images and entries of the code; ln 2 makes bits of it, as the authors' code does.

What the draws change most is the gradient of the layers behind the code. Those before it move in nearly the direction
that the mean of the code would move them in, and an attacker who leaves the others out hardly notices the draws
(Scheliga, Maeder and Seeland 2023, arXiv:2309.04515). So the attacker replays the mean of the code (``MeanCode``) and
trusts the layers before it (``trust_before_code``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leakward.errors import DefenseError, ModelError
from leakward.federated import Defense, Evidence, Objective, Step
from leakward.models import Task, build_task, initial_state
from leakward.models.around import Plain, around
from leakward.models.bottleneck import BOTTLENECK, ENCODER, Bottleneck, name_inside
from leakward.models.hooks import hooked
from leakward.tape import Tape
from leakward.types import Tensors

LEAST_SPREAD = 1e-30
"""Below this, single precision would have no logarithm of a spread."""


@dataclass(frozen=True)
class MeanCode(Defense):
    """What an attacker runs who cannot draw the code as the client did, and takes its mean.

    Attributes:
        coefficient: Weight of the divergence in the client's loss.
    """

    coefficient: float

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Add the divergence, and leave the code at its mean."""
        return sampled(task, objective, self.coefficient)


class SampledCode(Defense):
    """What every defence does that puts a bottleneck in; the attacker replays the mean of the code.

    Attributes:
        coefficient: Weight of the divergence of the code from N(0, I), a field of the defence.
    """

    coefficient: float

    def on_task(self, task: Task) -> Task:
        """Refuse a network without bottleneck."""
        statistics_layer(task)
        return task

    def on_step(self, task: Task, parameters: Tensors, step: Step, tape: Tape) -> Step:
        """Draw the code."""
        del parameters
        return draw(task, step, tape)

    def on_objective(self, task: Task, objective: Objective) -> Objective:
        """Sample the code, and keep it near N(0, I)."""
        return sampled(task, objective, self.coefficient)

    def replay(self) -> Defense:
        """Replay the mean of the code."""
        return MeanCode(self.coefficient)


def trust_before_code(message: Tensors, least: int = 0) -> Evidence:
    """Trust the layers before the code, in the order of the network, and those behind it not at all.

    Args:
        message: As it was sent.
        least: With fewer layers than this before the code, the layer that gives mean and spread is trusted too.
    """
    names = [*message]
    inside = [name for name in names if f".{BOTTLENECK}.{ENCODER}." in name]
    before = names[: names.index(inside[0])] if inside else names
    layers = {name.rpartition(".")[0] for name in before}
    trusted = {*before, *inside} if len(layers) < least else {*before}
    return Evidence(message, {name: torch.full_like(v, float(name in trusted)) for name, v in message.items()})


def put_in(
    task: Task, state: Tensors, factory: str, options: Mapping[str, Plain], rng: torch.Generator
) -> tuple[Task, Tensors]:
    """Return the network that ``factory`` builds around the agreed one, whose weights stay; new ones are drawn."""
    try:
        made = build_task(around(task.spec, factory, **options))
    except ModelError as error:
        raise DefenseError(f"bottleneck: {error}") from error
    like = next(iter(state.values()))
    fresh = {name: value.to(like) for name, value in initial_state(made, rng).items()}
    kept = {name_inside(name, str(options["place"])): value for name, value in state.items()}
    return made, {name: kept.get(name, value) for name, value in fresh.items()}


def statistics_layer(task: Task) -> str:
    """Return the name of the layer that gives mean and spread of the code.

    Raises:
        DefenseError: If the network has no bottleneck, or several.
    """
    found = [name for name, module in task.model.named_modules() if isinstance(module, Bottleneck)]
    if len(found) != 1:
        raise DefenseError(
            f"bottleneck: expected a network with one, got {task.spec.model!r} with {len(found)}; let one such "
            "defence install its own before the first round"
        )
    return f"{found[0]}.{ENCODER}"


def draw(task: Task, step: Step, tape: Tape) -> Step:
    """Return the step with draws for the code of every image.

    Raises:
        DefenseError: If another defence has put noise on a representation.
    """
    if step.noise is not None:
        raise DefenseError("bottleneck: expected no other noise inside the network; use one such defence at a time")
    return replace(step, noise=tape.normal((len(step.images), *_code_shape(task)), step.images))


def sampled(task: Task, objective: Objective, coefficient: float) -> Objective:
    """Return the objective with the step's sample of the code, and the weighted divergence added to its loss."""
    layer = statistics_layer(task)

    def defended(parameters: Tensors, step: Step) -> tuple[Tensor, Tensors]:
        divergences: list[Tensor] = []

        def sample(_: Tensor, output: Tensor) -> Tensor:
            mean, raw = output.chunk(2, dim=1)
            spread = F.softplus(raw).clamp_min(LEAST_SPREAD)
            divergences.append(divergence(mean, spread))
            return torch.cat([mean if step.noise is None else mean + spread * step.noise, raw], dim=1)

        with hooked(task.model, {layer: sample}):
            loss, buffers = objective(parameters, step)
        return loss + coefficient * divergences[0], buffers

    return defended


def divergence(mean: Float[Tensor, "b *code"], spread: Float[Tensor, "b *code"]) -> Float[Tensor, ""]:
    """Return the mean over images of KL(N(mean, spread^2) | N(0, I)) in bits."""
    nats = (mean.square() + spread.square() - 1) / 2 - spread.log()
    return nats.sum() / (len(mean) * math.log(2))


@lru_cache(maxsize=16)
def _code_shape(task: Task) -> tuple[int, ...]:
    """Return the shape of one image's code, found without computing anything."""
    shapes: list[torch.Size] = []
    state = {name: value.to("meta") for name, value in task.model.state_dict().items()}
    with hooked(task.model, {statistics_layer(task): lambda _, output: shapes.append(output.shape)}):
        task.forward(state, torch.zeros(1, *task.spec.input_shape, device="meta"))
    return (shapes[0][1] // 2, *shapes[0][2:])
