"""To know a defence and act as if it were not there: what is replayed of it can be too hard for a search."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from leakward.attacks.reconstruction import Reconstruction
from leakward.attacks.searching.likelihood import Judge
from leakward.attacks.solvers import Progress, span
from leakward.federated import NoDefense
from leakward.threat import Observation

Attacking = Callable[[Sequence[Observation], torch.Generator, Progress], list[Reconstruction]]
"""``Attack.attack``."""


def likelier(
    attack: Attacking, observations: Sequence[Observation], rng: torch.Generator, progress: Progress
) -> list[Reconstruction]:
    """Attack, and where the replay jumps attack as one who knows of no defence as well.

    Both start alike. Of two answers the one is kept whose message is nearer to the one that was seen, by the replay of
    whoever knows the defence; what its prior says, the attack has looked at itself.

    Args:
        attack: To run, once or twice.
        observations: Of one task, recipe and threat model, at least one.
        rng: The attacker's own randomness.
        progress: Called with the fraction done.
    """
    first = observations[0]
    if first.threat.knowledge != "aware" or not first.defense.jumps:
        return attack(observations, rng, progress)
    alike = torch.Generator().set_state(rng.get_state())
    knowing = attack(observations, rng, span(progress, 0.0, 0.5))
    ignoring = attack([_ignorant(seen) for seen in observations], alike, span(progress, 0.5, 1.0))
    judge = Judge.of([replace(seen, public=None) for seen in observations], rng)
    return [_chosen(judge, place, *pair) for place, pair in enumerate(zip(knowing, ignoring, strict=True))]


def _ignorant(seen: Observation) -> Observation:
    return replace(seen, threat=replace(seen.threat, knowledge="unaware"), defense=NoDefense())


def _chosen(judge: Judge, place: int, knowing: Reconstruction, ignoring: Reconstruction) -> Reconstruction:
    chosen = min(knowing, ignoring, key=lambda answer: judge.judged(place, answer)[0].objective)
    return replace(chosen, evaluations=knowing.evaluations + ignoring.evaluations)
