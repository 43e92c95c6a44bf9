"""``Paper``: what a reproduction runs, and how it tells what came of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from leakward.reproduce.results import Results

Scale = Literal["quick", "cpu", "paper"]
"""``quick`` proves the path, ``cpu`` ranks the methods on two cores, ``paper`` is the paper's size, for a GPU."""
Outcome = Literal["confirmed", "not confirmed", "not decidable here"]


@dataclass(frozen=True)
class Claim:
    """What an abstract says, and what came of it here.

    Attributes:
        words: Of ours, for the claim.
        outcome: Whether it was confirmed.
        reason: In a sentence, with the numbers.
    """

    words: str
    outcome: Outcome
    reason: str


class Paper(ABC):
    """One paper; its subclass lies beside its plan, its figures and what is known of both."""

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """Measures that its page needs."""
    shared_trainings: ClassVar[bool] = False
    """Whether its parts train the same networks, so that each is trained once."""

    @abstractmethod
    def parts(self, scale: Scale) -> Mapping[str, Mapping[str, Any]]:
        """Return the plan of every part, as plain tables, by its name."""

    @abstractmethod
    def differences(self, scale: Scale) -> tuple[str, ...]:
        """Return what is not as in the paper, or not known of it, a sentence each."""

    @abstractmethod
    def claims(self, results: Results) -> tuple[Claim, ...]:
        """Return what came of every claim of the abstract."""

    @abstractmethod
    def sections(self, results: Results, folder: Path) -> Mapping[str, str]:
        """Return the page's sections by title, and write their figures into ``folder``."""

    @abstractmethod
    def keep(self, runs: Mapping[str, Path], folder: Path) -> None:
        """Write into ``folder`` what the page shows and the tables do not hold, from the run folder of every part."""
