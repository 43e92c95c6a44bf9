"""What a solver is asked, and what it answers.

The maths of an attack is a pure function of ONE candidate and ONE victim to a scalar. Only the solver knows of many:
a *trial* is one victim with one start, and all trials of a problem have equal shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from leakward.types import Tensors

Victim = Any
"""A nested dictionary of tensors: what an attack holds of one victim."""

Draws = tuple[Tensor, ...]
"""Random numbers of one evaluation, shared by all trials."""

Tree = TypeVar("Tree")
Objective = Callable[[Tensors, Victim, Draws], Tensor]
Progress = Callable[[float], None]
"""Called with the fraction done, in [0, 1]."""


def span(progress: Progress, begin: float, end: float) -> Progress:
    """Return the progress of a part that takes the bar from ``begin`` to ``end``."""
    return lambda fraction: progress(begin * (1 - fraction) + end * fraction)


class Status(StrEnum):
    """How a trial ended."""

    OK = "ok"
    NON_FINITE = "non-finite"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, eq=False)
class Problem:
    """Trials to be solved together.

    Attributes:
        objective: The attacker's own loss of one trial; smaller is better.
        start: Starting candidates by name, each (t *shape).
        victims: A nested dictionary of tensors, each (t *shape).
        draw: Random numbers for one evaluation, from a generator; empty if the objective needs none.
        box: Names of candidates that are kept within [0, 1].
        project: Returns the nearest allowed candidates of all trials, each (t *shape); called after every step of Adam.
    """

    objective: Objective
    start: Tensors
    victims: Victim
    draw: Callable[[torch.Generator], Draws] = lambda _: ()
    box: tuple[str, ...] = ()
    project: Callable[[Tensors], Tensors] = lambda candidates: candidates

    @property
    def trials(self) -> int:
        """Return t."""
        return len(next(iter(self.start.values())))


@dataclass(frozen=True, eq=False)
class Coupling:
    """Trials that look at each other: from time to time, what they hold of one another is written anew.

    Attributes:
        group: Neighbouring trials that belong together, such as the restarts of a victim.
        every: Iterations before the first time, and between two times.
        rewrite: From candidates and victims of whole groups, each (t *shape), to the victims from then on.
    """

    group: int
    every: int
    rewrite: Callable[[Tensors, Victim], Victim]


@dataclass(frozen=True, eq=False)
class Solution:
    """The answer, trial by trial.

    Attributes:
        best: The candidates at the smallest objective seen, each (t *shape); if trials are coupled, seen since what
            they hold was last written anew.
        value: That objective; infinite if it never was finite.
        last: The candidates at the end, each (t *shape).
        status: How each trial ended.
        evaluations: Objective-and-gradient evaluations of each trial.
    """

    best: Tensors
    value: Float[Tensor, " t"]
    last: Tensors
    status: tuple[Status, ...]
    evaluations: tuple[int, ...]


def select(tree: Tree, index: int | slice | Tensor) -> Tree:
    """Return a nested dictionary of tensors with ``index`` applied to the first dimension of each."""
    return pytree.tree_map(lambda value: value[index], tree)


def join(parts: list[Solution]) -> Solution:
    """Return solutions of several chunks as one."""
    return Solution(
        best={name: torch.cat([part.best[name] for part in parts]) for name in parts[0].best},
        value=torch.cat([part.value for part in parts]),
        last={name: torch.cat([part.last[name] for part in parts]) for name in parts[0].last},
        status=tuple(status for part in parts for status in part.status),
        evaluations=tuple(count for part in parts for count in part.evaluations),
    )
