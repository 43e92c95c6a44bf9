"""Strong Wolfe line searches of many trials, one evaluation at a time.

Nocedal and Wright 2006, Algorithms 3.5 and 3.6.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ARMIJO = 1e-4
CURVATURE = 0.9
MOST = 25
"""Evaluations of one search."""
EXPAND = 10.0
MARGIN = 0.1
"""A trial step stays this share of the bracket away from its ends."""


@dataclass(frozen=True, eq=False)
class Point:
    """A step length with value, slope and gradient there."""

    alpha: Float[Tensor, " t"]
    value: Float[Tensor, " t"]
    slope: Float[Tensor, " t"]
    gradient: Float[Tensor, "t d"]


def _choose(where: Tensor, yes: Point, no: Point) -> Point:
    return Point(
        torch.where(where, yes.alpha, no.alpha),
        torch.where(where, yes.value, no.value),
        torch.where(where, yes.slope, no.slope),
        torch.where(where[:, None], yes.gradient, no.gradient),
    )


@dataclass(frozen=True, eq=False)
class Search:
    """The state of every trial's search along its direction.

    Attributes:
        direction: A descent direction.
        zero: The point the search began at (alpha 0).
        low: In bracketing the previous point, in zooming the better end of the bracket.
        high: The other end of the bracket; only meaningful in zooming.
        alpha: Step length to evaluate next.
        zoom: Whether a trial is zooming rather than bracketing.
        count: Evaluations of this search so far.
        best: The accepted point, for trials that have just accepted.
    """

    direction: Float[Tensor, "t d"]
    zero: Point
    low: Point
    high: Point
    alpha: Float[Tensor, " t"]
    zoom: Bool[Tensor, " t"]
    count: Int[Tensor, " t"]
    best: Point

    @staticmethod
    def start(direction: Tensor, gradient: Tensor, value: Tensor, *, first: bool | Tensor) -> "Search":
        """Begin a search in every trial; the ``first`` step is scaled by the gradient, later ones start at 1."""
        zeros = torch.zeros_like(value)
        zero = Point(zeros, value, (direction * gradient).sum(1), gradient)
        scaled = (1 / gradient.abs().sum(1).clamp_min(1e-12)).clamp_max(1.0)
        alpha = torch.where(torch.as_tensor(first, device=value.device), scaled, torch.ones_like(scaled))
        none = torch.zeros_like(value, dtype=torch.bool)
        return Search(direction, zero, zero, zero, alpha, none, none.long(), zero)

    def restart(self, where: Tensor, direction: Tensor, gradient: Tensor, value: Tensor, first: Tensor) -> "Search":
        """Begin anew in the trials of ``where``; a direction that does not descend becomes steepest descent."""
        uphill = ((direction * gradient).sum(1) >= 0) | ~torch.isfinite(direction).all(1)
        direction = torch.where(uphill[:, None], -gradient, direction)
        fresh = Search.start(direction, gradient, value, first=first | uphill)
        return Search(
            torch.where(where[:, None], fresh.direction, self.direction),
            _choose(where, fresh.zero, self.zero),
            _choose(where, fresh.low, self.low),
            _choose(where, fresh.high, self.high),
            torch.where(where, fresh.alpha, self.alpha),
            torch.where(where, fresh.zoom, self.zoom),
            torch.where(where, fresh.count, self.count),
            _choose(where, fresh.best, self.best),
        )

    def point(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t d"]:
        """Return the points to evaluate."""
        return x + self.alpha[:, None] * self.direction

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return step, value and gradient of the accepted points."""
        return self.best.alpha[:, None] * self.direction, self.best.value, self.best.gradient

    def advance(self, value: Tensor, gradient: Tensor, running: Tensor) -> tuple["Search", Tensor, Tensor]:
        """Take in one evaluation per running trial.

        Returns:
            The searches, the trials that have just accepted a point, and those that found no decrease.
        """
        finite = torch.isfinite(value) & torch.isfinite(gradient).all(1)
        gradient = torch.where(finite[:, None], gradient, 0.0)
        value = torch.where(finite, value, torch.inf)
        new = Point(self.alpha, value, (gradient * self.direction).sum(1), gradient)
        bracketing, zooming = running & ~self.zoom, running & self.zoom
        too_high = value > self.zero.value + ARMIJO * self.alpha * self.zero.slope
        worse = too_high | ((value >= self.low.value) & (self.zoom | (self.count > 0)))
        flat = ~worse & (new.slope.abs() <= -CURVATURE * self.zero.slope)
        count = self.count + running
        over = running & ~flat & (count >= MOST)
        low, high = self._bracket(new, worse, bracketing, zooming)
        zoom = self.zoom | (bracketing & (worse | (new.slope >= 0)))
        moved = replace(self, low=low, high=high, zoom=zoom, count=count)
        moved = replace(moved, alpha=torch.where(running, moved._next(self.low, new, bracketing), self.alpha))
        narrow = running & zoom & ((high.alpha - low.alpha).abs() * self.direction.abs().amax(1) < 1e-12)
        give_up = (over | narrow) & ~flat
        decreased = low.value < self.zero.value
        accepted = (running & flat) | (give_up & decreased)
        best = _choose(flat, new, low)
        return replace(moved, best=best), accepted, give_up & ~decreased

    def _bracket(self, new: Point, worse: Tensor, bracketing: Tensor, zooming: Tensor) -> tuple[Point, Point]:
        """Return the ends of the bracket after ``new``."""
        rising = new.slope >= 0
        crossing = new.slope * (self.high.alpha - self.low.alpha) >= 0
        high = _choose((bracketing | zooming) & worse, new, self.high)
        high = _choose(~worse & ((bracketing & rising) | (zooming & crossing)), self.low, high)
        low = _choose((bracketing | zooming) & ~worse, new, self.low)
        return low, high

    def _next(self, previous: Point, new: Point, bracketing: Tensor) -> Tensor:
        """Return the step lengths to try next: a longer one while bracketing, one inside the bracket while zooming."""
        inside = _interpolate(self.low, self.high)
        width = self.high.alpha - self.low.alpha
        edge = MARGIN * width.abs()
        smaller, larger = torch.minimum(self.low.alpha, self.high.alpha), torch.maximum(self.low.alpha, self.high.alpha)
        inside = torch.where(torch.isfinite(inside), inside, self.low.alpha + width / 2)
        inside = torch.maximum(torch.minimum(inside, larger - edge), smaller + edge)
        longer = _interpolate(previous, new)
        least = new.alpha + 0.01 * (new.alpha - previous.alpha)
        longer = torch.where(torch.isfinite(longer) & (longer > least), longer, EXPAND * new.alpha)
        longer = torch.minimum(torch.maximum(longer, least), EXPAND * new.alpha)
        return torch.where(bracketing & ~self.zoom, longer, inside)


def _interpolate(a: Point, b: Point) -> Tensor:
    """Return the minimiser of the cubic through two points and their slopes (Nocedal and Wright 2006, eq. 3.59)."""
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.alpha - b.alpha)
    square = d1 * d1 - a.slope * b.slope
    d2 = torch.sign(b.alpha - a.alpha) * square.clamp_min(0).sqrt()
    found = b.alpha - (b.alpha - a.alpha) * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)
    return torch.where(square < 0, torch.nan, found)
