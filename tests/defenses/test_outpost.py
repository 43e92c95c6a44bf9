import pytest
import torch

from leakward.attacks import InvertingGradients
from leakward.defenses import Outpost
from leakward.defenses.outpost import STEPS
from leakward.federated import LocalTraining, NoDefense, client_round, client_update, run_round
from leakward.federated.defense import Step
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

WEIGHTS = {"a": torch.tensor([1.0, -1.0, 1.0, -1.0]), "b": torch.tensor([3.0, -3.0])}
GRADIENT = {"a": torch.tensor([4.0, -3.0, 0.5, 0.1]), "b": torch.tensor([-2.0, 1.0])}


def perturb(client, defense, uniform, step=1):
    noise = [torch.ones(4), torch.full((2,), 10.0)]
    private = {STEPS: torch.tensor(float(step))}
    looked_at = Step({}, torch.zeros(1, 1, 2, 2), torch.tensor([0]), private=private)
    return defense.on_gradient(client.task, WEIGHTS, looked_at, GRADIENT, Tape(values=[torch.tensor(uniform), *noise]))


def test_by_hand(lenet):
    # pruned: the 2 smaller of a, the smaller of b;  noise: on 4, -3 and -2;  its scale: half of min(variance, 1) = 1
    sent = perturb(lenet, Outpost(ratio=0.6, scale=0.5, noisy=0.5), 0.0)
    torch.testing.assert_close(sent["a"], torch.tensor([4.5, -2.5, 0.0, 0.0]))
    torch.testing.assert_close(sent["b"], torch.tensor([3.0, 0.0]))


def test_noise_falls_on_pruned_entries_too(lenet):
    sent = perturb(lenet, Outpost(ratio=0.9, scale=0.5, noisy=0.5), 0.0)
    torch.testing.assert_close(sent["a"], torch.tensor([4.5, 0.5, 0.0, 0.0]))


@pytest.mark.parametrize(("step", "probability"), [(1, 0.5), (3, 0.25)])
def test_the_probability_falls_with_the_steps(step, probability, lenet):
    defense = Outpost(decay=1.0)
    assert not torch.equal(perturb(lenet, defense, probability - 0.01, step)["a"], GRADIENT["a"])
    assert torch.equal(perturb(lenet, defense, probability + 0.01, step)["a"], GRADIENT["a"])


def test_steps_are_counted_within_a_round(lenet):
    recipe = LocalTraining("update", batch_images=4, epochs=2, minibatch=2)
    client = (lenet.task, lenet.state, lenet.images, lenet.labels, recipe)
    # with this decay step t is perturbed if u < 1 / (1 + 9 t): 0.1, 0.053, 0.036, 0.027
    defense, plain = Outpost(decay=9.0), client_update(*client, NoDefense(), Tape()).tensors
    rehearsal = Tape(generator(0))
    private = client_round(*client, defense, rehearsal).private
    assert float(private[STEPS]) == 0
    for last, same in ((0.028, True), (0.026, False)):
        uniforms = iter([0.9, 0.9, 0.9, last])
        drawn = zip(rehearsal.draws, rehearsal.values, strict=True)
        values = [torch.tensor(next(uniforms)) if draw.kind == "uniform" else value for draw, value in drawn]
        sent = client_update(*client, defense, Tape(values=values)).tensors
        assert all(torch.equal(sent[name], plain[name]) for name in plain) == same


def test_the_attacker_who_knows_of_it_recovers_more(lenet):
    batch = Batch(lenet.images[:1], lenet.labels[:1])
    sent = run_round(lenet.task, lenet.state, batch, LocalTraining(), Outpost(decay=0.0, scale=0.0), generator(0))
    attack = InvertingGradients(iterations=100, total_variation=0.0)
    error = {}
    for knowledge in ("unaware", "aware"):
        [found] = attack.recover([observe(sent, ThreatModel(knowledge, labels=True))], generator(1))
        error[knowledge] = float((found.images - batch.images).square().mean())
    assert error["aware"] < error["unaware"]
