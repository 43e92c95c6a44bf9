"""What attacks that compute their answer share: the evidence they start from, and how good they say the answer is."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import TINY, squared_distance
from leakward.attacks.searching.replay import Victims, cast
from leakward.attacks.solvers import Status
from leakward.attacks.solvers.problem import select
from leakward.federated import Evidence
from leakward.threat import Observation
from leakward.types import Tensors, generator

NO_ANSWER = Reconstruction(None, None, float("inf"), Status.NON_FINITE)
"""The message is broken or silent: there is nothing to compute an image from."""


def read_evidence(observation: Observation) -> Evidence | None:
    """Return what the attacker makes of the message, in double precision on the CPU; None where it is not finite.

    A tensor that is noise alone as far as the attacker can tell is taken as it came, since nothing can be computed from
    zeros.
    """
    update = observation.update
    found = observation.evidence()
    message = {name: value if value.any() else update.tensors[name] for name, value in found.message.items()}
    if not all(bool(torch.isfinite(value).all()) for value in message.values()):
        return None
    return Evidence(_double(message), _double(found.weight))


def read_state(observation: Observation) -> Tensors:
    """Return the weights before the round, in double precision on the CPU."""
    return _double(observation.state)


def streams(count: int, rng: torch.Generator) -> list[torch.Generator]:
    """Return a generator for every victim, so that none draws from what another would."""
    return [generator(int(seed)) for seed in torch.randint(2**62, (count,), generator=rng)]


def answer(
    victims: Victims,
    index: int,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    rng: torch.Generator,
    evaluations: int = 1,
) -> Reconstruction:
    """Return a victim's images with ``|g(x) - g| / |g|``, over the trusted entries of its message, as the objective.

    Where no entry is trusted nothing speaks for the images: the objective is 1.

    Args:
        victims: Gathered with one restart.
        index: Which of them.
        images: The answer, which is brought into [0, 1] first.
        labels: The answer.
        rng: For the randomness of a defence's replay, where it has any.
        evaluations: What the answer took.
    """
    victim = select(victims.tensors, index)
    target, weight = victim["message"], victim.get("weight")
    like = next(iter(target.values()))
    images, labels = images.clamp(0, 1).to(like), labels.to(like.device)
    found = victims.replay.message(images, labels, victim, victims.replay.draw(rng))
    silent = {name: torch.zeros_like(value) for name, value in target.items()}
    distance, length = (squared_distance(one, target, weight) for one in (found, silent))
    objective = float((distance / length).sqrt()) if length > TINY else 1.0
    if not (torch.isfinite(images).all() and objective < float("inf")):
        return NO_ANSWER
    return Reconstruction(images.float(), labels, objective, Status.OK, evaluations)


def _double(tensors: Tensors) -> Tensors:
    return {name: value.cpu() for name, value in cast(tensors, torch.float64).items()}
