"""What attacks by optimisation share: victims side by side, and the client replayed on a candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.solvers import Draws, Solution, Status
from leakward.attacks.solvers.problem import Victim
from leakward.errors import ModelError
from leakward.federated import Defense, NoDefense, group_update
from leakward.tape import Draw, Tape, sample
from leakward.threat import Observation
from leakward.types import Tensors, generator


@dataclass(frozen=True, eq=False)
class Replay:
    """The client as an attacker runs it, for victims of one task, recipe and threat model.

    Attributes:
        observation: One of them, for all that they have in common.
        defense: What is replayed: nothing, the aware surrogate, or under ``oracle`` the defence itself.
        state: Weights before the round, in the attack's precision; a victim with weights of its own brings them.
        requests: The randomness one replay asks for.
        averaged: Draws of that randomness whose messages are averaged.
    """

    observation: Observation
    defense: Defense
    state: Tensors
    requests: tuple[Draw, ...]
    averaged: int

    def message(self, images: Float[Tensor, "b c h w"], labels: Tensor, victim: Victim, draws: Draws) -> Tensors:
        """Return the message expected from a candidate, averaged over ``draws``, each (s *shape)."""
        return self.update(images, labels, victim, draws)[0]

    def update(
        self, images: Float[Tensor, "b c h w"], labels: Tensor, victim: Victim, draws: Draws
    ) -> tuple[Tensors, Tensors]:
        """Return the message expected from a candidate and the buffers sent with it, averaged over ``draws``."""
        state = victim.get("state", self.state)
        given = victim.get("randomness", draws)

        def once(values: Draws) -> tuple[Tensors, Tensors]:
            seen, tape = self.observation, Tape(values=list(values))
            clients = seen.threat.clients
            sent = group_update(seen.task, state, images, labels, seen.recipe, self.defense, tape, clients)
            return sent.tensors, sent.buffers

        if not given:
            return once(())
        messages, buffers = vmap(once)(given)
        return _mean(messages), _mean(buffers)

    def draw(self, rng: torch.Generator) -> Draws:
        """Draw for one evaluation, each (s *shape); nothing if the replay needs none, or its draws are granted."""
        if self.observation.randomness is not None:
            return ()
        like = next(iter(self.state.values()))
        return tuple(torch.stack([sample(d, rng) for _ in range(self.averaged)]).to(like) for d in self.requests)


@dataclass(frozen=True, eq=False)
class Victims:
    """Observations side by side, ready for a solver.

    Attributes:
        replay: The client they have in common.
        tensors: Of each victim, (v *shape): ``message``, and where they differ or are needed ``labels``, ``weight``,
            ``buffers``, ``state`` and ``randomness``.
        restarts: Starts per victim; trials are ordered victim by victim.
    """

    replay: Replay
    tensors: Victim
    restarts: int

    @property
    def trials(self) -> int:
        """Return t = victims x restarts."""
        return len(next(iter(self.tensors["message"].values()))) * self.restarts

    def for_trials(self) -> Victim:
        """Return the tensors of every trial, (t *shape)."""
        return pytree.tree_map(lambda v: v.repeat_interleave(self.restarts, dim=0), self.tensors)

    def choose(self, solution: Solution, labels: Int[Tensor, "t b"]) -> list[Reconstruction]:
        """Return each victim's restart with the smallest objective."""
        chosen: list[Reconstruction] = []
        for first in range(0, self.trials, self.restarts):
            trials = range(first, first + self.restarts)
            best = min(trials, key=lambda i: float(solution.value[i]))
            count = sum(solution.evaluations[i] for i in trials)
            value = float(solution.value[best])
            if value == float("inf"):
                chosen.append(Reconstruction(None, None, value, Status.NON_FINITE, count))
                continue
            images = solution.best["images"][best].clamp(0, 1).float()
            chosen.append(Reconstruction(images, labels[best], value, Status.OK, count))
        return chosen


def gather(
    observations: Sequence[Observation],
    *,
    restarts: int,
    averaged: int,
    labels: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Victims:
    """Lay observations of one task, recipe and threat model side by side.

    Args:
        observations: At least one.
        restarts: Starts per victim.
        averaged: Draws of a defence's randomness whose messages are averaged.
        labels: Whether the attack wants labels, granted or inferred; without, ``tensors`` holds none.
        dtype: The attack's precision.
    """
    first = observations[0]
    knowledge = first.threat.knowledge
    defense = {"unaware": NoDefense(), "aware": first.defense.replay(), "oracle": first.defense}[knowledge]
    state = cast(first.state, dtype)
    replay = Replay(first, defense, state, _requests(first, defense, state), averaged)
    evidence = [o.evidence() if knowledge == "aware" else None for o in observations]
    messages = [o.update.tensors if e is None else e.message for o, e in zip(observations, evidence, strict=True)]
    tensors: dict[str, Victim] = {
        "message": _stack([cast(message, dtype) for message in messages]),
    }
    if labels:
        tensors["labels"] = torch.stack([infer_labels(o) if o.labels is None else o.labels for o in observations])
    weights = [e.weight for e in evidence if e is not None]
    if any(not bool((w == 1).all()) for weight in weights for w in weight.values()):
        tensors["weight"] = _stack([cast(weight, dtype) for weight in weights])
    if first.update.buffers:
        tensors["buffers"] = _stack([cast(o.update.buffers, dtype) for o in observations])
    if any(o.state is not first.state for o in observations):
        tensors["state"] = _stack([cast(o.state, dtype) for o in observations])
    if first.randomness:
        tensors["randomness"] = tuple(
            torch.stack([value[None] for value in values]).to(dtype)
            for values in zip(*(o.randomness for o in observations if o.randomness), strict=True)
        )
    return Victims(replay, tensors, restarts)


def labels_known(observation: Observation) -> bool:
    """Return whether the labels are granted, or the last layer is one they can be read off."""
    try:
        return observation.labels is not None or bool(observation.task.classifier)
    except ModelError:
        return False


def cast(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """Return floating tensors in ``dtype``, others unchanged."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}


def _requests(observation: Observation, defense: Defense, state: Tensors) -> tuple[Draw, ...]:
    """Run the client once on an empty candidate to learn which randomness it asks for."""
    like = next(iter(state.values()))
    images = torch.zeros(observation.shape, dtype=like.dtype, device=like.device)
    labels = torch.zeros(len(images), dtype=torch.long, device=like.device)
    tape = Tape(generator(0))
    clients = observation.threat.clients
    group_update(observation.task, state, images, labels, observation.recipe, defense, tape, clients)
    return tuple(tape.draws)


def _mean(tensors: Tensors) -> Tensors:
    return {name: (value if value.is_floating_point() else value.float()).mean(0) for name, value in tensors.items()}


def _stack(items: list[Tensors]) -> Tensors:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}
