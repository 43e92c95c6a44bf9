"""Randomness that can be recorded, granted to an attacker, or drawn afresh.

A client's step draws from a ``Tape``. In a live run the tape takes values from a generator and keeps them. In
a replay the same step runs as a pure function: it reads values drawn beforehand, so it can be differentiated and
vectorised. What an attacker may know of the randomness is then a question of which values are on its tape.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["normal", "uniform"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """One request for random numbers: distribution and shape."""

    kind: Kind
    shape: Shape


@dataclass
class Tape:
    """A sequence of random tensors, live from ``source`` or replayed from ``values``.

    A replay that asks for more values than there are, or for another shape, raises ``ValueError``.
    """

    source: torch.Generator | None = None
    values: list[Tensor] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)

    def normal(self, shape: Shape, like: Tensor) -> Tensor:
        """Return standard normal numbers with the dtype and device of ``like``."""
        return self._next(Draw("normal", shape), like)

    def uniform(self, shape: Shape, like: Tensor) -> Tensor:
        """Return numbers uniform on [0, 1) with the dtype and device of ``like``."""
        return self._next(Draw("uniform", shape), like)

    def _next(self, draw: Draw, like: Tensor) -> Tensor:
        position = len(self.draws)
        self.draws.append(draw)
        if self.source is None:
            return self._replay(position, draw).to(like)
        value = sample(draw, self.source)
        self.values.append(value)
        return value.to(like)

    def _replay(self, position: int, draw: Draw) -> Tensor:
        request = f"Tape: the replay asks for value {position}, {draw.kind} of shape {draw.shape}"
        if position >= len(self.values):
            raise ValueError(
                f"{request}, but holds {len(self.values)}; draw the values for the same task, recipe and defence"
            )
        value = self.values[position]
        if tuple(value.shape) != draw.shape:
            raise ValueError(
                f"{request}, but holds one of shape {tuple(value.shape)}; "
                "draw the values for the same task, recipe and defence"
            )
        return value


def sample(draw: Draw, rng: torch.Generator) -> Tensor:
    """Draw one tensor, always on the CPU so that every device sees the same numbers."""
    function = torch.randn if draw.kind == "normal" else torch.rand
    return function(draw.shape, generator=rng)
