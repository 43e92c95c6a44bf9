import pytest
import torch

from leakward.attacks import InvertingGradients
from leakward.defenses import WithheldLayers
from leakward.errors import DefenseError
from leakward.federated import LocalTraining, NoDefense, client_update, run_round
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

RECIPES = [
    LocalTraining(batch_images=4),
    LocalTraining("update", batch_images=4, epochs=2, minibatch=2, weight_decay=0.1),
]
LAST = {"predictor.1.weight", "predictor.1.bias"}


@pytest.mark.parametrize("recipe", RECIPES, ids=["gradient", "update"])
def test_what_is_withheld_is_zero_and_the_rest_is_that_of_the_plain_client(recipe, lenet):
    client = (lenet.task, lenet.state, lenet.images, lenet.labels, recipe)
    plain = client_update(*client, NoDefense(), Tape()).tensors
    sent = client_update(*client, WithheldLayers(), Tape()).tensors
    for name, value in plain.items():
        assert torch.equal(sent[name], torch.zeros_like(value) if name in LAST else value)


def test_the_attacker_trusts_what_was_sent(lenet):
    defense = WithheldLayers(named=("encoder.2.bias",))
    message = {name: lenet.state[name] for name in lenet.task.parameter_names}
    found = defense.evidence(message, 1)
    assert {name for name, weight in found.weight.items() if not weight.any()} == {*LAST, "encoder.2.bias"}
    assert {float(weight.min()) for name, weight in found.weight.items() if weight.any()} == {1.0}
    assert defense.replay() == NoDefense()


def test_a_layer_that_is_not_there_is_refused(lenet):
    with pytest.raises(DefenseError, match=r"WithheldLayers: expected some of the layers .* got conv1"):
        run_round(*lenet[:2], Batch(*lenet[2:]), RECIPES[0], WithheldLayers(named=("conv1",)), generator(0))


def test_the_attacker_who_knows_of_it_recovers_more(lenet):
    batch = Batch(lenet.images[:1], lenet.labels[:1])
    sent = run_round(lenet.task, lenet.state, batch, LocalTraining(), WithheldLayers(), generator(0))
    attack = InvertingGradients(iterations=100, total_variation=0.0)
    error = {}
    for knowledge in ("unaware", "aware"):
        [found] = attack.recover([observe(sent, ThreatModel(knowledge, labels=True))], generator(1))
        error[knowledge] = float((found.images - batch.images).square().mean())
    assert error["aware"] < 0.5 * error["unaware"]
