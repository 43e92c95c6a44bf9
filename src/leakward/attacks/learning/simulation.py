"""What an attacker would see of clients that held public images: the same client, run on those."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import vmap

from leakward.attacks.learning.sketch import Sketch, draw_sketch
from leakward.attacks.solvers import Progress
from leakward.attacks.solvers.problem import select
from leakward.federated import group_update
from leakward.pace import paced
from leakward.tape import Tape, sample
from leakward.threat import Observation
from leakward.types import Batch, Tensors, generator

TOGETHER, LARGE = 64, 2**20
"""Clients that run side by side, but for networks of more numbers than ``LARGE``, which take longer so."""


@dataclass(frozen=True, eq=False)
class Clients:
    """Imagined clients, each with images of its own out of public ones, mirrored at random.

    Attributes:
        public: Images in [0, 1] and their labels.
        picks: Which images every client holds.
        flips: Which of them are mirrored left to right, and which top to bottom.
    """

    public: Batch
    picks: Int[Tensor, "n b"]
    flips: Bool[Tensor, "n b 2"]

    def __len__(self) -> int:
        return len(self.picks)

    def images(self, index: slice | Int[Tensor, " s"]) -> Float[Tensor, "s b c h w"]:
        """Return the images of some of the clients."""
        images, flips = self.public.images[self.picks[index]], self.flips[index][..., None, None, None]
        mirrored = torch.where(flips[:, :, 0], images.flip(-1), images)
        return torch.where(flips[:, :, 1], mirrored.flip(-2), mirrored)

    def labels(self, index: slice | Int[Tensor, " s"]) -> Int[Tensor, "s b"]:
        """Return the labels of some of the clients."""
        return self.public.labels[self.picks[index]]


def draw_clients(public: Batch, count: int, images: int, rng: torch.Generator) -> Clients:
    """Draw ``count`` clients with ``images`` images each, independently and uniformly."""
    picks = torch.randint(len(public), (count, images), generator=rng)
    flips = torch.randint(2, (count, images, 2), generator=rng).bool()
    device = public.images.device
    return Clients(public, picks.to(device), flips.to(device))


@torch.no_grad()
def simulate(
    seen: Observation, clients: Clients, features: int, rng: torch.Generator, progress: Progress
) -> tuple[Sketch, Float[Tensor, "n f"]]:
    """Return what the messages of all clients are projected by, and the projected messages.

    Args:
        seen: What is attacked; its message is not looked at.
        clients: At least one.
        features: Length of a projected message, at most.
        rng: For the randomness of defence and client, and for the projection.
        progress: Called with the fraction done.
    """
    sizes = [seen.state[name].numel() for name in seen.task.parameter_names]
    together = TOGETHER if sum(sizes) <= LARGE else 1
    sketch, parts = None, []
    for first in paced(range(0, len(clients), together), together):
        some = slice(first, first + together)
        sent = messages(seen, clients.images(some), clients.labels(some), rng)
        count = min(together, len(clients) - first)
        vectors = torch.stack([as_vector(seen, select(sent, i)) for i in range(count)])
        sketch = sketch or draw_sketch(vectors, sizes, features, rng)
        parts.append(sketch(vectors))
        progress((first + count) / len(clients))
    assert sketch is not None
    return sketch, torch.cat(parts)


def messages(
    seen: Observation, images: Float[Tensor, "s b c h w"], labels: Int[Tensor, "s b"], rng: torch.Generator
) -> Tensors:
    """Return what each of s clients sends, (s *shape), by the defence the attacker knows of with draws of its own.

    Args:
        seen: What is attacked; its message is not looked at.
        images: Of every client, in [0, 1].
        labels: Of those images.
        rng: For the randomness of defence and client.
    """

    def send(pixels: Tensor, classes: Tensor, tape: Tape) -> Tensors:
        clients = seen.threat.clients
        return group_update(seen.task, seen.state, pixels, classes, seen.recipe, seen.defense, tape, clients).tensors

    if len(images) == 1:  # as it is: side by side it would take three times as long
        return {name: value[None] for name, value in send(images[0], labels[0], Tape(rng)).items()}
    probe = Tape(generator(0))
    send(images[0], labels[0], probe)
    draws = [torch.stack([sample(draw, rng) for _ in images]).to(images) for draw in probe.draws]
    return vmap(lambda pixels, classes, values: send(pixels, classes, Tape(values=values)))(images, labels, draws)


def as_vector(seen: Observation, message: Tensors) -> Float[Tensor, " d"]:
    """Return one message, after what an attacker who knows of the defence makes of it, as one vector."""
    evidence = seen.evidence(message).message
    return torch.cat([evidence[name].float().flatten() for name in seen.task.parameter_names])
