"""The mean over clients, and what an attacker makes of it."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from leakward.attacks import InvertingGradients
from leakward.defenses import GaussianNoise
from leakward.federated import LocalTraining, NoDefense, client_update, group_update, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

LOCAL = LocalTraining(share="update", batch_images=2, epochs=2, minibatch=1, learning_rate=0.1, shuffle=True)


def make(model="lenet", count=6):
    task = build_task(TaskSpec(model, (1, 12, 12), 4))
    images = torch.rand(count, 1, 12, 12, generator=generator(1))
    return task, initial_state(task, generator(0)), Batch(images, torch.arange(count) % 4)


@pytest.mark.parametrize(("model", "mode"), [("lenet", "eval"), ("resnet18", "train")])
def test_it_is_the_mean_of_what_each_client_sends(model, mode):
    task, state, batch = make(model)
    recipe = replace(LOCAL, mode=mode, minibatch=2)
    seen = group_update(task, state, batch.images, batch.labels, recipe, GaussianNoise(), Tape(generator(2)), 3)
    tape = Tape(generator(2))
    parts = [
        client_update(task, state, batch.images[i : i + 2], batch.labels[i : i + 2], recipe, GaussianNoise(), tape)
        for i in (0, 2, 4)
    ]
    assert seen.images == 6
    for name, value in seen.tensors.items():
        assert_close(value, torch.stack([part.tensors[name] for part in parts]).mean(0))
    assert seen.buffers.keys() == parts[0].buffers.keys()
    for name, value in seen.buffers.items():
        expected = torch.stack([part.buffers[name].double() for part in parts]).mean(0)
        assert_close(value.double(), expected, rtol=1e-5, atol=1e-7)


def test_gradients_of_several_clients_are_one_gradient_of_all_images():
    task, state, batch = make()
    given = task, state, batch.images, batch.labels, LocalTraining(batch_images=6), NoDefense()
    assert_close(group_update(*given, Tape(), 3).tensors, client_update(*given, Tape()).tensors, rtol=1e-4, atol=1e-6)


def test_images_that_do_not_divide_among_the_clients_are_refused():
    task, state, batch = make(count=5)
    with pytest.raises(ValueError, match="images for 3 equal clients, got 5"):
        group_update(task, state, batch.images, batch.labels, LocalTraining(), NoDefense(), Tape(), 3)


def test_a_threat_model_of_other_clients_is_refused():
    task, state, batch = make()
    round_ = run_round(task, state, batch, LOCAL, NoDefense(), generator(2), clients=3)
    with pytest.raises(ValueError, match="a threat model of 3 clients, got 1"):
        observe(round_, ThreatModel())


def test_noise_is_as_much_smaller_as_clients_come_together():
    """An attacker who knows of it matches the mean as it is."""
    task, state, batch = make(count=9)
    defense, recipe = GaussianNoise(std=0.1), LocalTraining()
    threat = ThreatModel(clients=9)
    seen = observe(run_round(task, state, batch, recipe, defense, generator(3), clients=9), threat)
    clean = group_update(task, state, batch.images, batch.labels, recipe, NoDefense(), Tape(), 9).tensors
    name = max(clean, key=lambda key: clean[key].numel())
    noise = (seen.update.tensors[name] - clean[name]).std()
    assert_close(float(noise), 0.1 / 3, rtol=0.05, atol=0)
    assert_close(seen.evidence().message[name], seen.update.tensors[name])


def test_several_clients_are_attacked_by_replaying_all_of_them():
    task, state, batch = make(count=2)
    recipe = replace(LOCAL, batch_images=1)
    round_ = run_round(task, state, batch, recipe, NoDefense(), generator(4), clients=2)
    seen = observe(round_, ThreatModel(labels=True, clients=2))
    attack = InvertingGradients(iterations=100, total_variation=0.0)
    [found] = attack.recover([seen], generator(5))
    assert found.objective < 1e-3
    assert (found.images - batch.images).square().mean() < 0.05
