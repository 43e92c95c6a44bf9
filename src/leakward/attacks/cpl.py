"""Client Privacy Leakage: Wei et al. 2020 (arXiv:2004.10397), Algorithm 1.

Geometry of the start decides how fast the gradient is matched: a small random patch is repeated over the image.

    x_0 = tile of U(0, 1)
    x* = argmin  sum_l || g_l(x, c) - g_l ||^2 + alpha || f(x) - c ||^2

| symbol | here |
|---|---|
| c | ``victim["labels"]``, by ``labels.single_label`` |
| tile | ``tile`` pixels high and wide |
| alpha | left out, see below |

What differs: the label term, which the authors' code has commented out, is left out here too, since the label is
known by then; L-BFGS has a strong Wolfe line search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from leakward.attacks.attack import Attack
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import squared_distance
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import LBFGS, Draws, Problem, Progress
from leakward.attacks.solvers.problem import Victim
from leakward.fields import check, whole
from leakward.threat import Observation
from leakward.types import Tensors


@dataclass(frozen=True)
class CPL(Attack):
    """Match the gradient from a tiled start.

    Attributes:
        evaluations: Function values per start, at least 1.
        restarts: Starts per victim, at least 1; the smallest objective is kept.
        history: Curvature pairs of L-BFGS, at least 1.
        tile: Side of the repeated patch in pixels, at least 1; the paper's is half the image of 32 pixels.
        averaged: Draws of a defence's randomness that an aware attacker averages over, at least 1.
    """

    evaluations: int = 3000
    restarts: int = 1
    history: int = 100
    tile: int = 16
    averaged: int = 4

    paper: ClassVar[str] = "Wei et al. 2020, arXiv:2004.10397"
    cost: ClassVar[str] = "L-BFGS, 3,000 evaluations"

    def __post_init__(self) -> None:
        check(
            self,
            whole("evaluations", self.evaluations),
            whole("restarts", self.restarts),
            whole("history", self.history),
            whole("tile", self.tile),
            whole("averaged", self.averaged),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether the labels are granted or can be read off the message."""
        return labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images, given or inferred labels."""
        victims = gather(observations, restarts=self.restarts, averaged=self.averaged)

        def objective(candidate: Tensors, victim: Victim, draws: Draws) -> torch.Tensor:
            found = victims.replay.message(candidate["images"], victim["labels"], victim, draws)
            return squared_distance(found, victim["message"], victim.get("weight"))

        start = {"images": tiled((victims.trials, *observations[0].shape), self.tile, rng)}
        problem = Problem(objective, start, victims.for_trials(), victims.replay.draw)
        solution = LBFGS(self.evaluations, self.history).solve(problem, rng, progress)
        return victims.choose(solution, problem.victims["labels"])


def tiled(shape: tuple[int, ...], tile: int, rng: torch.Generator) -> Float[Tensor, "t b c h w"]:
    """Return images that repeat one patch of uniform noise, ``tile`` pixels high and wide, each its own."""
    *batch, height, width = shape
    patch = torch.rand(*batch, tile, tile, generator=rng)
    rows, columns = -(-height // tile), -(-width // tile)
    return patch.repeat(*[1] * len(batch), rows, columns)[..., :height, :width]
