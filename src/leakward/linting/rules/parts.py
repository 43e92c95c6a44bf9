"""The privacy parts of the engines that rules look for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from leakward.linting.finding import Subject
from leakward.linting.flower import FlowerApp, Mod
from leakward.linting.place import Place
from leakward.linting.values import is_of, last, number

LOCAL_DP = "LocalDpMod"
FIXED_MOD, ADAPTIVE_MOD = "fixedclipping_mod", "adaptiveclipping_mod"
DP_MODS = (LOCAL_DP, FIXED_MOD, ADAPTIVE_MOD)
CENTRAL = "DifferentialPrivacy"
"""How the names of Flower's strategies with differential privacy begin."""
FIXED, ADAPTIVE = (
    tuple(f"{CENTRAL}{side}Side{kind}Clipping" for side in ("Server", "Client")) for kind in ("Fixed", "Adaptive")
)
SERVER_SIDE = (FIXED[0], ADAPTIVE[0])
"""Strategies that clip at the server."""
DEFENCE_OF_OURS = "defense_mod"
AUDITS = ("site_mod",)
OURS = "leakward.integrations.flower"
SECURE_AGGREGATION = ("secagg_mod", "secaggplus_mod")


@dataclass(frozen=True)
class LocalDP:
    """One LocalDpMod of Flower, each setting None where it is not known.

    Args:
        place: Where it is made.
        norm: Bound of its clipping.
        sensitivity: By which it draws noise.
        epsilon: Of one message.
        delta: Of one message.
    """

    place: Place
    norm: float | None
    sensitivity: float | None
    epsilon: float | None
    delta: float | None

    @property
    def deviation(self) -> float | None:
        """Return that of its noise in units of the sensitivity, by Flower's formula; None where it has no value."""
        if self.epsilon is None or self.delta is None or not (self.epsilon > 0 and 0 < self.delta < 1):
            return None
        return math.sqrt(2 * math.log(1.25 / self.delta)) / self.epsilon


def local_dp(subject: Subject) -> Iterator[LocalDP]:
    """Return every LocalDpMod of an app; a job of FLARE has none."""
    if isinstance(subject, FlowerApp):
        for made in subject.calls():
            if made.of("flwr", LOCAL_DP):
                names = ("clipping_norm", "sensitivity", "epsilon", "delta")
                yield LocalDP(made.place, *(number(made.setting(name, at)) for at, name in enumerate(names)))


def is_dp(mod: Mod) -> bool:
    """Return whether a mod is one of Flower's for differential privacy."""
    return is_of(mod.name, "flwr", *DP_MODS)


def is_defence(mod: Mod) -> bool:
    """Return whether a mod changes what leaves, to protect it."""
    return is_dp(mod) or is_of(mod.name, OURS, DEFENCE_OF_OURS)


def clipping_places(app: FlowerApp) -> Iterator[tuple[str, Place]]:
    """Return where Flower is told to clip updates by their norm, and by what."""
    found = [(last(made.name), made.place) for made in app.calls() if made.of("flwr", LOCAL_DP, *SERVER_SIDE)]
    found += [(last(mod.name), mod.place) for mod in app.mods() if is_of(mod.name, "flwr", FIXED_MOD, ADAPTIVE_MOD)]
    return iter(dict.fromkeys(found))
