"""Poisson sampling: which of a client's images enter which local step of a round, and what that proves.

A client has n images, and k of them are agreed for a round. Each image is in the round with probability q = k / n, by
a coin toss of its own. An epoch has T steps, and in each of the E epochs every image of the round falls into one of
them, by itself and uniformly. T follows from k alone, sums are divided by k / T, and k is what is told to the server:
nothing depends on how many images were drawn.

What it proves for one image x, where neighbours differ in whether x is there and agree in n:

1. Let the attacker know what the client drew for the other images, and the steps into which x falls if it is in the
   round. All of this is drawn alike whether x is there or not, and who knows more tells the two cases apart no worse.
2. With x in the round, one step of each epoch has a sum that differs by at most C, given all noisy sums before, of
   which weights, momentum and whatever follows are functions. With noise of standard deviation s C these are E
   Gaussian mechanisms, chosen one after the other; together they are no worse than one with s / sqrt(E) in the place
   of s (Dong, Roth and Su 2022, arXiv:1905.02383).
3. x is in the round with probability q, whatever else was drawn: one such mechanism on a Poisson sample. Rounds
   compose (Zhu, Dong and Wang 2022, arXiv:2106.08567, both for pairs of distributions that dominate a mechanism).

A defence that bounds and noises the message alone needs 1 and 3, with its own mechanism in the place of 2.

Point 1 gives away in which step x would be. Where q is small that costs little. With q = 1 nothing is left of the
sampling, although the attacker does not see the steps: what it would add is known to be near Poisson samples of single
steps (Feldman and Shenfeld 2025, arXiv:2502.08202), but not by a formula that Opacus's accountants take.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

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
        recipe: Whose ``batch_images`` is k, at most n; E, and with k the number T, follow from it.
        rng: Of the draw.
    """
    epochs, steps = _epochs(recipe), len(recipe.step_sizes(recipe.batch_images)) // _epochs(recipe)
    tosses = torch.rand(images, generator=rng, dtype=torch.float64)
    inside = (tosses < recipe.batch_images / images).nonzero().flatten()
    places = [torch.randint(steps, (len(inside),), generator=rng) for _ in range(epochs)]
    chosen = tuple(inside[place == step] for place in places for step in range(steps))
    return Sample(chosen, recipe.batch_images / steps, recipe.batch_images)


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
    recipe = _defended(recipe, defense, images)
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
    recipe = _defended(recipe, defense, images)
    if not _asked(task, recipe, defense):
        return None
    if rounds == 0:
        return Guarantee(0.0, delta, "no message was sent")
    return defense.guarantee(recipe.batch_images / images, rounds, delta, _epochs(recipe))


def _defended(recipe: LocalTraining, defense: Defense, images: int) -> LocalTraining:
    """Return the recipe that the client follows, for as many images as agreed, or all that it has."""
    return replace(defense.on_recipe(recipe), batch_images=min(recipe.batch_images, images))


def _asked(task: Task, recipe: LocalTraining, defense: Defense) -> bool:
    """Return whether the defence asks for the sampling, and nothing leaves the client beside the message."""
    return defense.poisson and (recipe.mode == "eval" or not list(task.model.buffers()))


def _epochs(recipe: LocalTraining) -> int:
    return recipe.epochs if recipe.share == "update" else 1
