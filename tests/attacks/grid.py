"""Which pairs of an attack and a defence the usual run tries; the others are slow."""

import pytest

from leakward import registry

TYPICAL = ("none", "gaussian-noise", "pruning", "dp-sgd", "learnable-perturbation")
"""Defences that between them act at every place that attacks look at."""


def defenses(unfit=()):
    """Return every defence but the unfit ones, those that are not typical marked slow."""
    names = sorted(registry.names("defenses").keys() - set(unfit))
    return [pytest.param(name, marks=() if name in TYPICAL else pytest.mark.slow) for name in names]


def pairs(attacks, names):
    """Return every pair; every attack meets the typical defences and one more, and one attack meets all."""
    usual = {(attack, name) for attack in attacks for name in TYPICAL}
    usual |= {("inverting-gradients", name) for name in names}
    usual |= {(attacks[place % len(attacks)], name) for place, name in enumerate(names)}
    return [
        pytest.param(attack, name, marks=() if (attack, name) in usual else pytest.mark.slow)
        for attack in attacks
        for name in names
    ]
