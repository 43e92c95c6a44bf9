"""The privacy parts of the engines that rules look for."""

from collections.abc import Iterator

from leakward.linting.flower import FlowerApp, Mod
from leakward.linting.place import Place
from leakward.linting.values import is_of, last

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
