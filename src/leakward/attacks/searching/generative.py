"""What attacks with a generative prior share: where the prior comes from, and candidates that become images by it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from leakward.attacks.solvers import Progress, Solution, span
from leakward.attacks.solvers.problem import Victim
from leakward.generators import Generator, Prior, PriorSettings, load_prior, trained_prior
from leakward.threat import Observation
from leakward.types import Tensors

Show = Callable[[Tensors, Victim], Tensor]
"""From one candidate and one victim to the images (b c h w)."""

TRAINING = 0.5
"""Share of the progress that training a prior takes."""


def prior_within_reach(observation: Observation, path: str) -> bool:
    """Return whether a saved prior is named, or there are public images to train one on."""
    return bool(path) or (observation.public is not None and len(observation.public) > 1)


def obtain(
    observations: Sequence[Observation], path: str, passes: int, progress: Progress
) -> tuple[Generator, Tensors, Progress]:
    """Return generator and weights, and the progress of what comes after.

    Args:
        observations: At least one, whose prior is within reach; the first one's public images are used.
        path: Of a saved prior, or empty.
        passes: Over the public images, where there is no saved prior.
        progress: Of everything.

    Raises:
        ModelError: If the saved prior is missing or broken, or makes images of another shape.
    """
    first, begun = observations[0], [0.0]

    def training(fraction: float) -> None:
        begun[0] = TRAINING
        progress(TRAINING * fraction)

    prior = load_prior(Path(path), first.task.spec.input_shape) if path else _train(first, passes, training)
    like = next(iter(first.state.values()))
    state = {name: value.to(like.device) for name, value in prior.state.items()}
    return prior.generator, state, span(progress, begun[0], 1.0)


def shown(solution: Solution, show: Show, victims: Victim) -> Solution:
    """Return a solution whose best candidates are the ``images`` (t b c h w) that they stand for."""
    with torch.no_grad():
        return replace(solution, best={"images": vmap(show)(solution.best, victims)})


def better(one: Solution, other: Solution) -> Solution:
    """Return, trial by trial, the one with the smaller objective, with the evaluations of both."""
    images, others = one.best["images"], other.best["images"]
    choose = (one.value <= other.value).view(-1, *[1] * (images.ndim - 1))
    return replace(
        one,
        best={"images": torch.where(choose, images, others)},
        value=torch.minimum(one.value, other.value),
        evaluations=tuple(a + b for a, b in zip(one.evaluations, other.evaluations, strict=True)),
    )


def draw_codes(generator: Generator, trials: int, images: int, rng: torch.Generator) -> Float[Tensor, "t b d"]:
    """Draw latent codes from the prior, N(0, 1)."""
    return torch.randn(trials, images, generator.latent, generator=rng)


def _train(observation: Observation, passes: int, progress: Progress) -> Prior:
    images = observation.public.images if observation.public is not None else torch.empty(0, 1, 1, 1)
    batch = PriorSettings.batch_images
    return trained_prior(images, PriorSettings(iterations=passes * -(-len(images) // batch)), progress)
