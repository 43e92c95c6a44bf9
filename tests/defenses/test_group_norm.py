import pytest
import torch
from torch import nn
from torch.func import functional_call, grad

from leakward.defenses import DPSGD, GroupNorm
from leakward.errors import DefenseError
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.models import TaskSpec, build_task, initial_state
from leakward.models.batchnorm import PureBatchNorm
from leakward.tape import Tape
from leakward.types import generator

TRAIN = LocalTraining(batch_images=4, mode="train")


def put(client, groups=2):
    task, state = GroupNorm(groups).install(client.task, client.state, generator(0))
    return client._replace(task=task, state=state)


def send(client, defense, recipe=TRAIN):
    return client_update(client.task, client.state, client.images, client.labels, recipe, defense, Tape(generator(0)))


def by_loop(x, weight, bias, groups, eps):
    """Normalise image by image and group by group."""
    out = torch.empty_like(x)
    size = x.shape[1] // groups
    for i in range(len(x)):
        for g in range(groups):
            part = slice(g * size, (g + 1) * size)
            values = x[i, part]
            out[i, part] = (values - values.mean()) / (values.var(correction=0) + eps).sqrt()
    return out * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_network_is_the_agreed_one_with_another_normalisation(batchnorm, groups):
    client = put(batchnorm, groups)
    state = {name: value.double() for name, value in client.state.items()}
    state["encoder.1.weight"] = torch.rand(4, generator=generator(1)).double()
    images = client.images.double()
    z = nn.functional.conv2d(images, state["encoder.0.weight"], state["encoder.0.bias"], padding=1)
    z = by_loop(z, state["encoder.1.weight"], state["encoder.1.bias"], groups, 1e-5).relu()
    expected = z.flatten(1) @ state["predictor.1.weight"].mT + state["predictor.1.bias"]
    torch.testing.assert_close(client.task.forward(state, images)[0], expected)


def test_no_running_statistics_are_kept_or_sent(batchnorm):
    assert any("running" in name for name in send(batchnorm, NoDefense()).buffers)
    client = put(batchnorm)
    assert {*client.state} == {name for name in batchnorm.state if name in batchnorm.task.parameter_names}
    assert all(torch.equal(value, batchnorm.state[name]) for name, value in client.state.items())
    sent = send(client, GroupNorm(2))
    assert sent.buffers == {}
    assert tuple(sent.tensors) == client.task.parameter_names == batchnorm.task.parameter_names


def test_images_no_longer_mix(batchnorm):
    client = put(batchnorm)
    whole = send(client, GroupNorm(2)).tensors
    alone = [
        send(client._replace(images=client.images[i : i + 1], labels=client.labels[i : i + 1]), GroupNorm(2)).tensors
        for i in range(4)
    ]
    for name, value in whole.items():
        torch.testing.assert_close(torch.stack([one[name] for one in alone]).mean(0), value, rtol=1e-4, atol=1e-6)
    assert send(client, DPSGD()).tensors.keys() == whole.keys(), "per-image gradients need no eval mode"


def test_the_message_is_the_gradient_of_the_network(batchnorm):
    client = put(batchnorm)

    def loss(state):
        return nn.functional.cross_entropy(functional_call(client.task.model, state, (client.images,)), client.labels)

    for name, value in grad(loss)(client.state).items():
        torch.testing.assert_close(send(client, GroupNorm(2)).tensors[name], value)


@pytest.mark.parametrize("model", ["resnet18", "densenet121"])
def test_the_default_fits_the_medical_networks(model):
    task = build_task(TaskSpec(model, (3, 32, 32), 4))
    made, state = GroupNorm().install(task, initial_state(task, generator(0)), generator(1))
    layers = [layer for layer in task.model.modules() if isinstance(layer, PureBatchNorm)]
    assert len([layer for layer in made.model.modules() if isinstance(layer, nn.GroupNorm)]) == len(layers) > 0
    assert {*state} == {*made.model.state_dict()}


def test_what_it_cannot_do_is_refused(lenet, batchnorm):
    with pytest.raises(DefenseError, match="expected a network with BatchNorm"):
        GroupNorm().install(lenet.task, lenet.state, generator(0))
    with pytest.raises(DefenseError, match=r"layer 'encoder\.1': expected channels that 3 groups divide"):
        put(batchnorm, groups=3)
    for client in (lenet, batchnorm):
        with pytest.raises(DefenseError, match="let install replace it"):
            send(client, GroupNorm(2))
