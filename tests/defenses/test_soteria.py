import pytest
import torch
from torch import nn

from leakward.attacks import InvertingGradients
from leakward.defenses import Soteria
from leakward.defenses.soteria import exposure
from leakward.errors import DefenseError
from leakward.federated import LocalTraining, NoDefense, client_update, run_round
from leakward.federated.defense import Step
from leakward.models import SplitModel, Task, TaskSpec
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

LAST = "predictor.1.weight"


def linear_task(encoder):
    """Features r = A x + c of a 1x1x2 image, and two classes."""
    model = SplitModel(nn.Sequential(nn.Flatten(), encoder), nn.Linear(encoder.out_features, 2))
    return Task(TaskSpec("linear", (1, 1, 2), 2), model)


def linear_state(task):
    with torch.no_grad():
        task.model.encoder[1].weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]))
        task.model.encoder[1].bias.copy_(torch.tensor([0.0, -2.0, 5.0]))
        task.model.predictor.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]]))
    return {name: value.detach().clone() for name, value in task.model.state_dict().items()}


def features_and_slopes(client):
    """Run a LeNet's halves by hand, one feature and one image at a time."""
    features, slopes = [], []
    for image in client.images:
        x = image[None].clone().requires_grad_()
        r = client.task.encode(client.state, x).flatten()
        slopes.append(torch.stack([torch.autograd.grad(v, x, retain_graph=True)[0].norm() for v in r]))
        features.append(r.detach())
    return torch.stack(features), torch.stack(slopes)


def test_exposure_of_a_linear_map_by_hand():
    task = linear_task(nn.Linear(2, 3))
    images = torch.tensor([[[[1.0, 0.5]]], [[[0.0, 0.0]]]])
    score = exposure(task, linear_state(task), Step({}, images, torch.tensor([0, 1])))
    # |3 + 2| / 5 and 0;  |0.5 - 2| / 1 and 2;  a feature that does not move says nothing
    torch.testing.assert_close(score, torch.tensor([0.5, 1.75, 0.0]))


def test_exposure_equals_a_loop_over_features_and_images(lenet):
    r, slope = features_and_slopes(lenet)
    score = exposure(lenet.task, lenet.state, Step({}, lenet.images, lenet.labels))
    torch.testing.assert_close(score, (r.abs() / slope).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.99])
def test_the_most_exposed_columns_are_zeroed_and_nothing_else(ratio, lenet):
    round_ = (lenet.task, lenet.state, lenet.images, lenet.labels, LocalTraining(batch_images=4))
    plain = client_update(*round_, NoDefense(), Tape()).tensors
    sent = client_update(*round_, Soteria(ratio), Tape()).tensors
    r, slope = features_and_slopes(lenet)
    score = (r.abs() / slope).mean(0)
    zeroed = torch.zeros(len(score), dtype=torch.bool)
    zeroed[score.topk(int(ratio * len(score))).indices] = True
    assert torch.equal((sent[LAST] == 0).all(0), zeroed)
    assert torch.equal(sent[LAST][:, ~zeroed], plain[LAST][:, ~zeroed])
    assert all(torch.equal(sent[name], plain[name]) for name in plain if name != LAST)


def test_the_attacker_drops_zeroed_columns_of_a_gradient_and_the_matrix_of_an_update():
    message = {"a.weight": torch.tensor([[0.0, 1.0]]), "z.weight": torch.tensor([[0.0, 1.0], [0.0, 0.0]])}
    found = Soteria().evidence(message, 1)
    assert torch.equal(found.weight["z.weight"], torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert torch.equal(found.weight["a.weight"], torch.ones(1, 2))
    after = Soteria().evidence(message, 1, LocalTraining("update", epochs=2))
    assert not after.weight["z.weight"].any()
    assert torch.equal(after.weight["a.weight"], torch.ones(1, 2))


def test_a_network_without_a_last_linear_layer_is_refused():
    task = Task(TaskSpec("conv", (1, 2, 2), 4), nn.Sequential(nn.Conv2d(1, 4, 2), nn.Flatten()))
    with pytest.raises(DefenseError, match="linear layer"):
        Soteria().on_gradient(task, {}, Step({}, torch.zeros(1, 1, 2, 2), torch.tensor([0])), {}, Tape())


def test_the_attacker_who_knows_of_it_recovers_more(lenet):
    batch = Batch(lenet.images[:1], lenet.labels[:1])
    sent = run_round(lenet.task, lenet.state, batch, LocalTraining(), Soteria(0.9), generator(0))
    attack = InvertingGradients(iterations=150, total_variation=0.0)
    error = {}
    for knowledge in ("unaware", "aware"):
        [found] = attack.recover([observe(sent, ThreatModel(knowledge, labels=True))], generator(1))
        error[knowledge] = float((found.images - batch.images).square().mean())
    assert error["aware"] < 0.5 * error["unaware"]
