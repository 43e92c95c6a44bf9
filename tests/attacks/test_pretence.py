"""An attacker who knows of a defence whose replay jumps, and acts as if it were not there."""

import pytest
import torch

from leakward.attacks import Ensemble, InvertingGradients
from leakward.defenses import Clipping, GaussianNoise, Outpost, Pruning
from leakward.federated import Chain, client_update
from leakward.tape import Tape
from leakward.threat import ThreatModel
from leakward.types import generator

ATTACK = InvertingGradients(15)


def recovered(victims, defense, knowledge):
    observed = victims(4, "lenet", channels=4, defense=defense, threat=ThreatModel(knowledge, labels=True))
    return observed, ATTACK.recover(observed, generator(0))


def unlike(seen, answer):
    """Return how far the pruned gradient of an answer points away from the message."""
    sent = client_update(
        seen.task, seen.state, answer.images, answer.labels, seen.recipe, Pruning(0.8), Tape(generator(0))
    )
    found, target = (torch.cat([v.double().flatten() for v in m.tensors.values()]) for m in (sent, seen.update))
    return 1 - float(torch.cosine_similarity(found, target, dim=0))


@pytest.fixture
def replayed_alone(monkeypatch):
    """Return what an attacker answers who has nothing but the replay."""

    def recover(victims, defense):
        with monkeypatch.context() as patch:
            patch.setattr(Outpost, "jumps", False)
            return recovered(victims, defense, "aware")[1]

    return recover


def test_of_both_answers_the_nearer_is_kept(victims, replayed_alone):
    observed, kept = recovered(victims, Outpost(), "aware")
    knowing, ignoring = replayed_alone(victims, Outpost()), recovered(victims, Outpost(), "unaware")[1]
    from_replay = [torch.equal(one.images, other.images) for one, other in zip(kept, knowing, strict=True)]
    for seen, one, with_it, without in zip(observed, kept, knowing, ignoring, strict=True):
        nearer = min(with_it, without, key=lambda answer: unlike(seen, answer))
        assert torch.equal(one.images, nearer.images)
        assert one.evaluations == with_it.evaluations + without.evaluations
    assert any(from_replay)
    assert not all(from_replay)


@pytest.mark.parametrize("defense", [GaussianNoise(0.01), Pruning()])
def test_others_are_attacked_once(victims, defense):
    assert {one.evaluations for one in recovered(victims, defense, "aware")[1]} == {15}


@pytest.mark.parametrize("knowledge", ["unaware", "oracle"])
def test_who_does_not_replay_it_attacks_once(victims, knowledge):
    assert {one.evaluations for one in recovered(victims, Outpost(), knowledge)[1]} == {15}


def test_of_several_attacks_each_is_run_twice_and_no_more(victims, monkeypatch):
    monkeypatch.setattr(Ensemble, "members", lambda _: {"one": ATTACK, "other": InvertingGradients(5)})
    observed = victims(2, "lenet", channels=4, defense=Outpost(), threat=ThreatModel("aware", labels=True))
    assert {one.evaluations for one in Ensemble(1).recover(observed, generator(0))} == {2 * (15 + 5)}


def test_a_chain_jumps_with_its_parts():
    assert Chain((Clipping(1.0), Outpost())).jumps
    assert not Chain((Clipping(1.0), Pruning())).jumps
