"""How long would it take? Every long loop says that it is one, by ``paced``, and can then be measured by a few steps.

In a measurement such a loop ends after some steps, and what it leaves out is counted at the pace of those: seconds, and
evaluations of objective and gradient. What comes after it goes on with what the loop has come to by then, so that all
loops are met, one after the other or one within the other, and each works on what it would work on. The first step does
not count for the pace, since it may have to trace, or to allocate, what the others use again.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
ENOUGH = 0.25
"""Seconds after which the pace of a loop is known, if there were two steps or more."""


@dataclass
class Measurement:
    """What loops have left out so far, and what attackers evaluated.

    Attributes:
        wait: Returns when all is done that was begun; a GPU computes while the next step is on its way.
        seconds: Left out.
        evaluations: Of objective and gradient, made or left out.
    """

    wait: Callable[[], None]
    seconds: float = 0.0
    evaluations: float = 0.0

    def some(self, items: Sequence[Item], evaluations: int) -> Iterator[Item]:
        """Yield the items until their pace is known, and count the rest."""
        begin, begun, evaluated = time.perf_counter(), clock(), self.evaluations
        for number, item in enumerate(items, start=1):
            yield item
            self.wait()
            self.evaluations += evaluations
            if number == 1:
                begin, begun, evaluated = time.perf_counter(), clock(), self.evaluations
            elif time.perf_counter() - begin > ENOUGH:
                left = (len(items) - number) / (number - 1)
                self.seconds += left * (clock() - begun)
                self.evaluations += left * (self.evaluations - evaluated)
                return


_measurement: ContextVar[Measurement | None] = ContextVar("measurement", default=None)


@contextmanager
def measured(wait: Callable[[], None] = lambda: None) -> Generator[Measurement]:
    """Measure a block instead of running it to its end; what it computes is of no use.

    Args:
        wait: Returns when all is done that was begun.
    """
    token = _measurement.set(found := Measurement(wait))
    try:
        yield found
    finally:
        _measurement.reset(token)


def measuring() -> bool:
    """Return whether loops are measured."""
    return _measurement.get() is not None


def clock() -> float:
    """Return a time in seconds that passes as if no loop left anything out."""
    found = _measurement.get()
    return time.perf_counter() + (found.seconds if found else 0.0)


def paced(items: Sequence[Item], evaluations: int = 0) -> Iterator[Item]:
    """Yield the items of a long loop whose steps are alike; in a measurement, some of the first.

    Args:
        items: One for every step.
        evaluations: Of an attacker's objective and its gradient, in every step.
    """
    found = _measurement.get()
    return iter(items) if found is None else found.some(items, evaluations)
