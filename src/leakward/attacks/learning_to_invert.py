"""Learning to Invert: Wu, Chen, Guo and Weinberger 2023 (arXiv:2210.10880).

The attacker runs the client on public images, and fits a network from what such clients send back to their images. The
network is then shown the observed message. Nothing is matched, so a defence that breaks the matching is merely another
distribution of messages, which the network learns:

    theta* = argmin over theta  E  min over pi in S_b  (1 / b) sum_i || f_theta(m)_i - x_pi(i) ||^2        (eqs. 2, 3)

| symbol | here |
|---|---|
| x | b public images, mirrored at random (``simulation``) |
| m | their message from the same client by the same defence, its randomness drawn anew |
| f_theta | two hidden layers of ``hidden`` units and a sigmoid (``inverse_network``) |
| pi | by optimal assignment, for every message of every step |
| hashed gradient | a sparse random projection to ``features`` (``sketch``), where a message is longer |
| learning rate, epochs, batch size | ``learning_rate``, a tenth from 75 % on, ``iterations`` of ``batch`` messages |

An unaware attacker simulates undefended clients. One who knows of the defence simulates the defence itself, since its
mechanism is known and only its draws are not; simulated and observed messages then go through its ``evidence`` alike.
Realised randomness (``oracle``) is not used: each update would need a network of its own.

The labels are read off the message or granted. Among the b images of the answer each label takes the one nearest to the
mean public image of its class, by optimal assignment.

What differs from the authors' code: the images are one site's few public ones, mirrored, in place of a training set of
50,000. Messages are simulated once, ``simulated`` of them, each with randomness of its own. Each tensor is brought to
the same size and each feature to mean 0 and deviation 1, and the network begins at the mean public image: hence fewer
steps and a larger learning rate. The last weights are taken; theirs are those with the smallest error on the images
under attack, which no attacker knows. Their pruning ranks the whole gradient, ours every tensor (``pruning``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leakward.attacks.attack import Attack
from leakward.attacks.learning.inverse_network import fit, nearest_order, start_network
from leakward.attacks.learning.simulation import as_vector, draw_clients, simulate
from leakward.attacks.learning.sketch import Sketch
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.replay import gather, labels_known
from leakward.attacks.solvers import Progress, Status
from leakward.attacks.solvers.problem import select
from leakward.fields import check, positive, whole
from leakward.threat import Observation
from leakward.types import Batch

SIMULATING = 0.5
"""Share of the progress that is shown when all clients are simulated."""


@dataclass(frozen=True, eq=False)
class _Inverse:
    """The fitted map from vectors of messages to images."""

    sketch: Sketch
    mean: Float[Tensor, " f"]
    deviation: Float[Tensor, " f"]
    network: nn.Module

    def __call__(self, vectors: Float[Tensor, "v d"]) -> Float[Tensor, "v b c h w"]:
        return self.network((self.sketch(vectors) - self.mean) / self.deviation)


@dataclass(frozen=True)
class LearningToInvert(Attack):
    """Fit a network to simulated messages of public images, and apply it to the observed one.

    Attributes:
        iterations: Steps of Adam, at least 1.
        batch: Messages per step, at least 1.
        simulated: Messages to learn from, at most; never more than all steps take.
        features: Entries to which longer messages are projected, at least 1.
        hidden: Units of either hidden layer, at least 1.
        learning_rate: Of Adam.
    """

    iterations: int = 1000
    batch: int = 64
    simulated: int = 8192
    features: int = 2048
    hidden: int = 500
    learning_rate: float = 1e-3

    paper: ClassVar[str] = "Wu et al. 2023, arXiv:2210.10880"
    needs: ClassVar[tuple[str, ...]] = ("update", "state", "public")
    cost: ClassVar[str] = "8,192 simulated clients, 1,000 Adam steps of a small network"

    def __post_init__(self) -> None:
        check(
            self,
            whole("iterations", self.iterations),
            whole("batch", self.batch),
            whole("simulated", self.simulated),
            whole("features", self.features),
            whole("hidden", self.hidden),
            positive("learning_rate", self.learning_rate),
        )

    def applies(self, observation: Observation) -> bool:
        """Return whether the labels are granted or can be read off the message."""
        return labels_known(observation)

    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images; observations that started from the same weights share a network."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, seen in enumerate(observations):
            groups.setdefault((id(seen.state), id(seen.public)), []).append(i)
        found: dict[int, Reconstruction] = {}
        for number, members in enumerate(groups.values()):

            def partly(fraction: float, done: int = number) -> None:
                progress((done + fraction) / len(groups))

            part = [observations[i] for i in members]
            inverse = self._learn(part[0], rng, partly)
            found |= zip(members, _answers(inverse, part, rng, self._clients(part[0])), strict=True)
        return [found[i] for i in range(len(observations))]

    def _clients(self, seen: Observation) -> int:
        return min(self.simulated, self.iterations * self.batch)

    def _learn(self, seen: Observation, rng: torch.Generator, progress: Progress) -> _Inverse:
        clients = draw_clients(_public(seen), self._clients(seen), seen.update.images, rng)
        sketch, features = simulate(seen, clients, self.features, rng, lambda done: progress(SIMULATING * done))
        mean, deviation = features.mean(0), features.std(0, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        features = (features - mean) / deviation

        def examples(rng: torch.Generator) -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(features), (self.batch,), generator=rng).to(features.device)
            return features[chosen], clients.images(chosen)

        usual = clients.public.images.mean(0).expand(seen.shape)
        network = start_network(features.shape[1], self.hidden, usual, rng)
        fit(network, examples, self.iterations, self.learning_rate, rng,
            lambda done: progress(SIMULATING + (1 - SIMULATING) * done),
        )  # fmt: skip
        return _Inverse(sketch, mean, deviation, network)


@torch.no_grad()
def _answers(
    inverse: _Inverse, observations: Sequence[Observation], rng: torch.Generator, clients: int
) -> list[Reconstruction]:
    """Return the images behind every observation, and how far their own message is from the observed one."""
    victims = gather(observations, restarts=1, averaged=1)
    draws = victims.replay.draw(rng)
    usual = _class_means(_public(observations[0]), observations[0].task.spec.num_classes)
    found: list[Reconstruction] = []
    guesses = inverse(torch.stack([as_vector(seen, seen.update.tensors) for seen in observations]))
    for i, guess in enumerate(guesses):
        victim = select(victims.tensors, i)
        labels: Int[Tensor, " b"] = victim["labels"]
        images = guess[nearest_order(usual[labels][None], guess[None])[0]]
        message = victims.replay.message(images, labels, victim, draws)
        distance = float(cosine_distance(message, victim["message"], victim.get("weight")))
        if images.isfinite().all() and distance < float("inf"):
            found.append(Reconstruction(images, labels, distance, Status.OK, clients))
        else:
            found.append(Reconstruction(None, None, float("inf"), Status.NON_FINITE, clients))
    return found


def _public(seen: Observation) -> Batch:
    assert seen.public is not None  # it is among the needs
    device = next(iter(seen.state.values())).device
    return Batch(seen.public.images.to(device), seen.public.labels.to(device))


def _class_means(public: Batch, classes: int) -> Float[Tensor, "k c h w"]:
    """Return the mean public image of every class, and that of all classes for a class without any."""
    means = [public.images[public.labels == label] for label in range(classes)]
    return torch.stack([(some if len(some) else public.images).mean(0) for some in means])
