"""The ``Attack`` interface."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from leakward.attacks.reconstruction import NOT_APPLICABLE, Reconstruction
from leakward.attacks.searching.pretence import likelier
from leakward.attacks.solvers import Progress
from leakward.federated import Share
from leakward.models import Task
from leakward.threat import Observation
from leakward.types import Batch, Tensors


class Attack(ABC):
    """An attack is a frozen dataclass of its hyper-parameters, with its paper's defaults."""

    paper: ClassVar[str]
    """Author, year and arXiv number."""
    needs: ClassVar[tuple[str, ...]] = ("update", "state")
    """Fields of an ``Observation`` without which the attack does not apply."""
    shares: ClassVar[tuple[Share, ...]] = ("gradient", "update")
    """What a message may be: one gradient, or the change of the weights over local steps."""
    active: ClassVar[bool] = False
    """Whether the server sends a model of its own making instead of the agreed one."""
    composed: ClassVar[bool] = False
    """Whether it runs others, by their ``recover``, and chooses among their answers."""
    cost: ClassVar[str]
    """What dominates its cost, in a few words."""

    def applies(self, observation: Observation) -> bool:
        """Return whether the attack can work on such an observation at all."""
        del observation
        return True

    def files(self) -> tuple[Path, ...]:
        """Return the files it reads; what they hold is part of what a result depends on."""
        return ()

    def plant(self, task: Task, state: Tensors, public: Batch | None, rng: torch.Generator) -> tuple[Task, Tensors]:
        """Return the network and the weights that the server sends out; only an active attack changes them.

        Args:
            task: As agreed.
            state: Weights before the round.
            public: Images the server holds, if any.
            rng: The server's own randomness.
        """
        del public, rng
        return task, state

    @abstractmethod
    def attack(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        """Recover the images behind observations that all apply."""

    def recover(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress = lambda _: None
    ) -> list[Reconstruction]:
        """Recover the images behind each observation.

        Args:
            observations: Of one task, recipe and number of images; all are solved together.
            rng: The attacker's own randomness.
            progress: Called with the fraction done.

        Returns:
            One reconstruction per observation, ``not-applicable`` where a need is missing.

        Raises:
            ValueError: If observations differ in what has to be common to all.
        """
        able = [self.can_attack(observation) for observation in observations]
        given = [observation for observation, ok in zip(observations, able, strict=True) if ok]
        _require_alike(given)
        found = iter(self._recovered(given, rng, progress) if given else [])
        return [next(found) if ok else NOT_APPLICABLE for ok in able]

    def _recovered(
        self, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
    ) -> list[Reconstruction]:
        if self.composed:
            return self.attack(observations, rng, progress)
        return likelier(self.attack, observations, rng, progress)

    def can_attack(self, observation: Observation) -> bool:
        """Return whether the observation holds what the attack needs, and ``applies``."""
        held = all(getattr(observation, need) is not None for need in self.needs)
        return held and observation.update.share in self.shares and self.applies(observation)


def _require_alike(observations: Sequence[Observation]) -> None:
    """One client is replayed for all of them: a victim of another would be attacked with the wrong one."""
    for observation in observations:
        first = observations[0]
        for what, one, other in (
            ("task", first.task.spec, observation.task.spec),
            ("recipe", first.recipe, observation.recipe),
            ("threat model", first.threat, observation.threat),
            ("defence", first.defense, observation.defense),
            ("number of images", first.update.images, observation.update.images),
        ):
            if one != other:
                raise ValueError(
                    f"recover: expected observations of one {what}, got {one!r} and {other!r}; recover them separately"
                )
