"""``ThreatModel``: what the adversary knows."""

from dataclasses import dataclass
from typing import Literal, get_args

from leakward.fields import check, one_of, whole

Knowledge = Literal["unaware", "aware", "oracle"]


@dataclass(frozen=True)
class ThreatModel:
    """An honest-but-curious server: it follows the protocol, sees one client's message and wants its images.

    It always holds architecture, weights before the round, recipe and message.

    Attributes:
        knowledge: ``unaware`` knows of no defence; ``aware`` knows its mechanism and public parameters, not its
            randomness or private helpers; ``oracle`` is also given the realised randomness, a diagnostic.
        labels: Whether the labels of the batch are granted; otherwise the attacker infers them.
        public: Whether the attacker holds public images of the same kind, none of them the client's.
        clients: Whose messages come together, at least 1: under secure aggregation the server sees nothing but
            their mean.
    """

    knowledge: Knowledge = "aware"
    labels: bool = False
    public: bool = False
    clients: int = 1

    def __post_init__(self) -> None:
        check(self, one_of("knowledge", self.knowledge, get_args(Knowledge)), whole("clients", self.clients))
