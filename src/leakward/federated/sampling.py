"""Poisson sampling: which of a client's images enter which local step of a round, and what that proves.

A client has n images, and k of them are agreed for a round: they would make T steps of an epoch. Each of the E T steps
of the round takes each image with probability p = k / (n T), by a coin toss of its own. T follows from k alone, sums
are divided by k / T, and k is what is told to the server: nothing depends on how many images were drawn.

What it proves for one image x, where neighbours differ in whether x is there and agree in n: what the client draws for
the other images is drawn alike in both cases, so let the attacker know it. Given all noisy sums before, of which
weights, momentum and whatever follows are functions, x changes the sum of a step by at most C, and only if its toss
puts it there. With noise of standard deviation s C a step is a Gaussian mechanism on a Poisson sample, and R rounds are
R E T of these, chosen one after the other (Abadi et al. 2016, arXiv:1607.00133; Mironov et al. 2019, arXiv:1908.10530).

A defence that bounds and noises the message alone has one mechanism in a round, on the images of all its steps: an
image is in one of them with probability 1 - (1 - p)^(E T).

What differs from shuffled epochs: an image may be in several steps of an epoch, or in none. Disjoint steps give nearly
the same privacy, but not by a formula that Opacus's accountants take (Feldman and Shenfeld 2025, arXiv:2502.08202).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from leakward.federated.agreement import require_agreed
from leakward.federated.defense import Defense, Guarantee
from leakward.federated.recipe import LocalTraining
from leakward.models import Task


@dataclass(frozen=True, eq=False)
class Sample:
    """The images of one round, as indices into those of the client.

    Attributes:
        steps: Images of every local step.
        size: Expected number of images of a step, above 0.
        images: Expected number of images of the round, which is the agreed one.
    """

    steps: tuple[Int[Tensor, " _"], ...]
    size: float
    images: int


def poisson_sample(images: int, recipe: LocalTraining, rng: torch.Generator) -> Sample:
    """Draw the images of one round.

    Args:
        images: n, that the client has.
        recipe: Whose ``batch_images`` is k, at most n; E T follows from it.
        rng: Of the draw.
    """
    steps, size = _steps(recipe)
    tosses = torch.rand(steps, images, generator=rng, dtype=torch.float64)
    return Sample(tuple(toss.nonzero().flatten() for toss in tosses < size / images), size, recipe.batch_images)


def draw_sample(
    task: Task, recipe: LocalTraining, defense: Defense, images: int, rng: torch.Generator
) -> Sample | None:
    """Return the images of one round if the defence asks for Poisson sampling, else None.

    Args:
        task: With what the defence installed.
        recipe: As agreed.
        defense: Switched on at the client.
        images: n, that the client has.
        rng: Of the draw.
    """
    recipe = _expected(recipe, defense, images)
    return poisson_sample(images, recipe, rng) if _asked(task, recipe, defense) else None


def proven(
    task: Task, recipe: LocalTraining, defense: Defense, images: int, rounds: int, delta: float
) -> Guarantee | None:
    """Return what is proven for each image of a client after rounds on what ``draw_sample`` returns; None if nothing.

    Nothing is where running statistics are sent as they are, which no defence here bounds.

    Args:
        task: With what the defence installed.
        recipe: As agreed.
        defense: As agreed, before it was prepared: some are fitted on the images, which is outside any proof.
        images: n, that the client has.
        rounds: In which the client sends a message, at least 0.
        delta: In (0, 1).
    """
    recipe = _expected(recipe, defense, images)
    if not _asked(task, recipe, defense):
        return None
    if rounds == 0:
        return Guarantee(0.0, delta, "no message was sent")
    steps, size = _steps(recipe)
    return defense.guarantee(size / images, rounds, delta, steps)


def _expected(recipe: LocalTraining, defense: Defense, images: int) -> LocalTraining:
    """Return the agreed recipe, for as many images as agreed, or all that the client has."""
    require_agreed(recipe, defense)
    return replace(recipe, batch_images=min(recipe.batch_images, images))


def _asked(task: Task, recipe: LocalTraining, defense: Defense) -> bool:
    """Return whether the defence asks for the sampling, and nothing leaves the client beside the message."""
    return defense.poisson and (recipe.mode == "eval" or not list(task.model.buffers()))


def _steps(recipe: LocalTraining) -> tuple[int, float]:
    """Return the number of local steps, and the images that are expected in each."""
    steps = len(recipe.step_sizes(recipe.batch_images))
    epochs = recipe.epochs if recipe.share == "update" else 1
    return steps, recipe.batch_images * epochs / steps
