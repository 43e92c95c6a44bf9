"""Objective and gradient of many trials, by loop, by ``vmap``, or by a ``vmap`` that was traced or compiled.

The gradient is taken inside ``vmap`` (``vmap(grad(f))``): an outer ``backward()`` through a vectorised forward pass is
slower. Which of the forms runs follows from sizes, never from a stopwatch: the same plan takes the same
path on every run, so that an audit that was interrupted ends with the tables of one that was not.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pooch
import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from leakward.attacks.solvers.problem import Draws, Problem, Progress, Solution, Victim, join, select, span
from leakward.pace import measuring
from leakward.types import Tensors, generator

Strategy = Literal["loop", "vmap", "trace", "compile"]
Evaluate = Callable[[Tensors, Victim, Draws], tuple[Tensor, Tensors]]
"""From candidates and victims, each (t *shape), to objectives (t) and gradients, each (t *shape)."""

Operator = Any
"""PyTorch's own: an operator, what it is called with, and what it returns."""

MEMORY = 4 * 2**30
"""Bytes that one vectorised evaluation may hold."""
FLOPS_PER_SECOND = 7e10
"""Of two CPU cores on these small convolutions; only the order of magnitude matters."""
TRACE_SECONDS, TRACE_GAIN = 4.0, 0.3
COMPILE_SECONDS, COMPILE_GAIN = 90.0, 0.45
"""What it takes to trace or compile, and the share of the time of ``vmap`` that it saves."""
LOOP_FLOPS = 1.5e9
"""Above this, one trial of several images fills the cores by itself and ``vmap`` loses to the loop."""


@dataclass(frozen=True)
class Cost:
    """What one evaluation of one trial costs.

    Attributes:
        flops: Floating-point operations.
        bytes: Memory that all its intermediate results take together, an upper bound of what it holds at a time.
    """

    flops: int
    bytes: int


class _Counter(TorchDispatchMode):
    """Counts what every tensor operation below computes and allocates."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Operator, types: Operator, args: Operator = (), kwargs: Operator = None
    ) -> Operator:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        if not func.is_view:
            self.bytes += sum(value.nbytes for value in pytree.tree_leaves(result) if isinstance(value, Tensor))
        return result


def cost(problem: Problem) -> Cost:
    """Run one trial once and count."""
    one = slice(0, 1)
    evaluate = vmap(grad_and_value(problem.objective), in_dims=(0, 0, None))
    with _Counter() as counter:
        evaluate(select(problem.start, one), select(problem.victims, one), problem.draw(generator(0)))
    return Cost(counter.flops, counter.bytes)


def choose(cost: Cost, trials: int, evaluations: int, images: int, device: torch.device) -> Strategy:
    """Return the cheapest form by expected cost.

    Args:
        cost: Of one evaluation of one trial.
        trials: Trials to be solved.
        evaluations: Evaluations per trial.
        images: Images per candidate.
        device: Where it runs.
    """
    if device.type == "cpu" and (trials == 1 or (images > 1 and cost.flops > LOOP_FLOPS)):
        return "loop"
    expected = trials * evaluations * cost.flops / FLOPS_PER_SECOND
    if expected * COMPILE_GAIN > COMPILE_SECONDS and shutil.which("c++"):
        return "compile"
    return "trace" if expected * TRACE_GAIN > TRACE_SECONDS else "vmap"


def chunk_size(cost: Cost, trials: int, memory: int = MEMORY) -> int:
    """Return how many trials to solve together, so that one evaluation stays below ``memory`` bytes."""
    most = max(1, memory // max(cost.bytes, 1))
    chunks = -(-trials // most)
    return -(-trials // chunks)


def solve_in_chunks(
    problem: Problem,
    evaluations: int,
    solve: Callable[[Problem, Evaluate, Progress], Solution],
    progress: Progress,
    strategy: Strategy | None,
    group: int = 1,
) -> Solution:
    """Solve all trials, as many together as memory allows.

    Args:
        problem: At least one trial; it is moved to where its victims are.
        evaluations: Expected per trial.
        solve: Solves one chunk with the evaluation it is given.
        progress: Called with the fraction done.
        strategy: How to evaluate; chosen by expected cost where None.
        group: Neighbouring trials that must be solved together; a group too large for memory is evaluated by loop.
    """
    problem = _together(problem)
    price, trials = cost(problem), problem.trials
    first = next(iter(problem.start.values()))
    strategy = strategy or choose(price, trials, evaluations, first.shape[1], first.device)
    if strategy == "compile" and measuring():
        strategy = "trace"  # slower, but compiling would take longer than all that is measured
    size = chunk_size(price, trials)
    evaluate = build(problem, strategy if size >= group else "loop")
    size = max(size - size % group, group)
    parts: list[Solution] = []
    for begin in range(0, trials, size):
        index = torch.arange(begin, min(begin + size, trials), device=first.device)
        part = replace(problem, start=select(problem.start, index), victims=select(problem.victims, index))
        parts.append(solve(part, evaluate, span(progress, begin / trials, (begin + len(index)) / trials)))
    return join(parts)


def _together(problem: Problem) -> Problem:
    """Return the problem with its start on the device of its victims."""
    leaves = pytree.tree_leaves((problem.victims, problem.start))
    device = leaves[0].device
    return replace(problem, start={name: value.to(device) for name, value in problem.start.items()})


def build(problem: Problem, strategy: Strategy) -> Evaluate:
    """Return the evaluation of ``problem`` in the form ``strategy``."""
    single = grad_and_value(problem.objective)
    vectorised = vmap(single, in_dims=(0, 0, None))
    if strategy == "loop":
        return _swapped(_loop(single))
    if strategy == "vmap":
        return _swapped(vectorised)
    return _swapped(_traced(vectorised, compiled=strategy == "compile"))


def _loop(single: Callable[..., tuple[Tensors, Tensor]]) -> Callable[..., tuple[Tensors, Tensor]]:
    def evaluate(candidates: Tensors, victims: Victim, draws: Draws) -> tuple[Tensors, Tensor]:
        count = len(next(iter(candidates.values())))
        results = [single(select(candidates, i), select(victims, i), draws) for i in range(count)]
        gradients = {name: torch.stack([result[0][name] for result in results]) for name in candidates}
        return gradients, torch.stack([result[1] for result in results])

    return evaluate


def _traced(
    vectorised: Callable[..., tuple[Tensors, Tensor]], *, compiled: bool
) -> Callable[..., tuple[Tensors, Tensor]]:
    """Trace once to plain tensor operations, drop those whose result is not used, and compile the rest if asked.

    Much is not used: differentiating a convolution twice also makes the derivative by its weights, which no attack asks
    for, by the dearest convolution of all. Trials that stop make later calls smaller, and every size would cost another
    trace: smaller calls are filled up with copies of their first trial instead. What was compiled is kept for later
    runs in the user's cache.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(pooch.os_cache("leakward") / "compiled"))
    traced: dict[int, Any] = {}

    def evaluate(candidates: Tensors, victims: Victim, draws: Draws) -> tuple[Tensors, Tensor]:
        count = len(next(iter(candidates.values())))
        size = min((known for known in traced if known >= count), default=count)
        index = torch.arange(size, device=next(iter(candidates.values())).device)
        index = torch.where(index < count, index, 0)
        candidates, victims = select(candidates, index), select(victims, index)
        if size not in traced:
            graph = make_fx(vectorised)(candidates, victims, draws)
            graph.graph.eliminate_dead_code()
            graph.recompile()
            traced[size] = torch.compile(graph) if compiled else graph
        with torch.no_grad():
            return select(traced[size](candidates, victims, draws), slice(count))

    return evaluate


def _swapped(evaluate: Callable[..., tuple[Tensors, Tensor]]) -> Evaluate:
    def swapped(candidates: Tensors, victims: Victim, draws: Draws) -> tuple[Tensor, Tensors]:
        gradients, values = evaluate(candidates, victims, draws)
        return values.detach(), {name: gradient.detach() for name, gradient in gradients.items()}

    return swapped
