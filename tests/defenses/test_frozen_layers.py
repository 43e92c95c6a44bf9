import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from leakward.defenses import FrozenLayers
from leakward.errors import DefenseError
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.tape import Tape

FIRST = {"encoder.0.weight", "encoder.0.bias"}
UPDATE = LocalTraining("update", batch_images=4, epochs=3, minibatch=2, learning_rate=0.1, momentum=0.5)


def test_the_rest_of_a_gradient_is_that_of_the_plain_client(lenet):
    client = (lenet.task, lenet.state, lenet.images, lenet.labels, LocalTraining(batch_images=4))
    plain = client_update(*client, NoDefense(), Tape()).tensors
    sent = client_update(*client, FrozenLayers(), Tape()).tensors
    for name, value in plain.items():
        assert torch.equal(sent[name], torch.zeros_like(value) if name in FIRST else value)


def test_an_update_is_that_of_an_optimiser_that_does_not_have_the_frozen_layers(lenet):
    task, state, images, labels = lenet
    sent = client_update(task, state, images, labels, UPDATE, FrozenLayers(), Tape()).tensors
    own = {name: value.clone() for name, value in state.items()}
    trained = [value.requires_grad_() for name, value in own.items() if name not in FIRST]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.5)
    for _ in range(3):
        for part in (slice(0, 2), slice(2, 4)):
            optimizer.zero_grad()
            F.cross_entropy(functional_call(task.model, own, (images[part],)), labels[part]).backward()
            optimizer.step()
    for name, value in sent.items():
        torch.testing.assert_close(value, (state[name] - own[name]).detach(), rtol=1e-4, atol=1e-6)


def test_the_attacker_replays_it_and_trusts_what_was_trained(lenet):
    message = {name: lenet.state[name] for name in lenet.task.parameter_names}
    found = FrozenLayers().evidence(message, 1)
    assert {name for name, weight in found.weight.items() if not weight.any()} == FIRST
    assert FrozenLayers().replay() == FrozenLayers()


def test_weight_decay_is_refused(lenet):
    recipe = LocalTraining("update", batch_images=4, weight_decay=0.1)
    with pytest.raises(DefenseError, match="FrozenLayers: expected no weight decay"):
        client_update(lenet.task, lenet.state, lenet.images, lenet.labels, recipe, FrozenLayers(), Tape())
