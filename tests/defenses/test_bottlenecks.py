"""``precode`` and ``variational-bottleneck``: the same layer, dense at the end of a network and convolutional early."""

import math

import pytest
import torch
from torch.func import grad
from torch.nn import functional as F

from leakward.defenses import PRECODE, LearnablePerturbation, VariationalBottleneck
from leakward.defenses.sampling import MeanCode, divergence
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining, NoDefense, client_update, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.tape import Tape
from leakward.threat import ThreatModel, load_capture, observe, save_capture
from leakward.types import Batch, generator

FOUR = LocalTraining(batch_images=4)
DENSE, EARLY = PRECODE(size=5, coefficient=0.3), VariationalBottleneck(size=3, kernel=3, coefficient=0.3)
BOTH = pytest.mark.parametrize("defense", [DENSE, EARLY], ids=["precode", "cvb"])
PLACE = {DENSE: "predictor.1", EARLY: "encoder.0"}


def put(defense, client):
    task, state = defense.install(client.task, client.state, generator(3))
    return client._replace(task=task, state=state)


def send(client, defense, tape, recipe=FOUR, images=None):
    images = client.images if images is None else images
    state = {name: value.to(images.dtype) for name, value in client.state.items()}
    return client_update(client.task, state, images, client.labels, recipe, defense, tape).tensors


@BOTH
def test_it_sits_where_it_should_and_the_agreed_weights_stay(defense, lenet):
    client, place = put(defense, lenet), PLACE[defense]
    within = {name for name in client.state if ".bottleneck." in name}
    assert within == {
        f"{place}.bottleneck.{layer}.{kind}" for layer in ("statistics", "decoder") for kind in ("weight", "bias")
    }
    kept = [value for name, value in client.state.items() if name not in within]
    assert all(torch.equal(one, other) for one, other in zip(kept, lenet.state.values(), strict=True))
    assert client.task.parameter_names == tuple(client.state)
    assert client.task.classifier[0].startswith("predictor.1")


@BOTH
def test_other_draws_give_other_bottlenecks_and_equal_ones_the_same(defense, lenet):
    first, again, other = (defense.install(lenet.task, lenet.state, generator(i))[1] for i in (0, 0, 1))
    name = f"{PLACE[defense]}.bottleneck.decoder.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def by_hand(client, defense, noise):
    """Return the loss of the equations, layer by layer, as a function of the weights."""
    conv = isinstance(defense, VariationalBottleneck)

    def layer(state, name, x, **options):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.conv2d(x, weight, bias, **options) if weight.ndim == 4 else F.linear(x, weight, bias)

    def bottleneck(state, place, h):
        pad = {"padding": 1} if conv else {}
        code = layer(state, f"{place}.bottleneck.statistics", h, **pad)
        mean, spread = code[:, : code.shape[1] // 2], F.softplus(code[:, code.shape[1] // 2 :])
        inside = 0.5 * (mean**2 + spread**2 - 1 - torch.log(spread**2))
        return (
            layer(state, f"{place}.bottleneck.decoder", mean + spread * noise, **pad),
            inside.flatten(1).sum(1).mean() / math.log(2),
        )

    def loss(state):
        x = client.images.double()
        names = ["encoder.0.agreed" if conv else "encoder.0", "encoder.2", "encoder.4"]
        for name, stride in zip(names, (2, 2, 1), strict=True):
            x = layer(state, name, x, padding=2, stride=stride)
            if name == "encoder.0.agreed":
                x, kl = bottleneck(state, "encoder.0", x)
            x = torch.sigmoid(x)
        x = x.flatten(1)
        if not conv:
            x, kl = bottleneck(state, "predictor.1", x)
        logits = layer(state, "predictor.1" if conv else "predictor.1.agreed", x)
        return F.cross_entropy(logits, client.labels) + 0.3 * kl

    return loss


@BOTH
def test_the_message_is_the_gradient_of_the_equations(defense, lenet):
    client, tape = put(defense, lenet), Tape(generator(0))
    found = send(client, defense, tape, images=client.images.double())
    [noise] = tape.values
    assert tuple(noise.shape) == ((4, 5) if defense is DENSE else (4, 3, 6, 6))
    state = {name: value.double() for name, value in client.state.items()}
    expected = grad(by_hand(client, defense, noise.double()))(state)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@BOTH
def test_the_attacker_replays_the_mean_of_the_code(defense, lenet):
    client, tape = put(defense, lenet), Tape(generator(0))
    assert defense.replay() == MeanCode(0.3)
    found = send(client, defense.replay(), tape, images=client.images.double())
    assert tape.draws == []
    state = {name: value.double() for name, value in client.state.items()}
    expected = grad(by_hand(client, defense, 0.0))(state)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


def test_the_attacker_trusts_what_comes_before_the_code(lenet):
    names = [*put(DENSE, lenet).state]
    weight = DENSE.evidence(put(DENSE, lenet).state, 1).weight
    assert [name for name in names if weight[name].all()] == [name for name in names if name.startswith("encoder")]
    early = put(EARLY, lenet).state
    weight = EARLY.evidence(early, 1).weight
    assert {name.rpartition(".")[0] for name in early if weight[name].all()} == {
        "encoder.0.agreed",
        "encoder.0.bottleneck.statistics",
    }
    assert all(not weight[name].any() for name in early if not weight[name].all())
    late = VariationalBottleneck(place="encoder.5")
    weight = late.evidence(put(late, lenet).state, 1).weight
    assert {name for name in weight if weight[name].any()} == {n for n in lenet.state if n.startswith("encoder")}


def test_divergence_is_that_of_two_normal_distributions():
    rng = generator(0)
    mean, spread = torch.randn(3, 4, 2, generator=rng).double(), torch.rand(3, 4, 2, generator=rng).double() + 0.1
    normal = torch.distributions.Normal
    nats = torch.distributions.kl_divergence(normal(mean, spread), normal(torch.zeros_like(mean), 1.0))
    torch.testing.assert_close(divergence(mean, spread), nats.sum((1, 2)).mean() / math.log(2))
    assert float(divergence(torch.zeros(2, 3), torch.ones(2, 3))) == 0


@BOTH
def test_prediction_takes_the_mean_and_draws_nothing(defense, lenet):
    client = put(defense, lenet)
    one, two = (client.task.forward(client.state, client.images)[0] for _ in range(2))
    assert torch.equal(one, two)
    assert not any(module._forward_hooks for module in client.task.model.modules())


@BOTH
def test_a_capture_holds_the_bottleneck(defense, lenet, tmp_path):
    client = put(defense, lenet)
    batch = Batch(client.images, client.labels)
    round_ = run_round(client.task, client.state, batch, FOUR, defense, generator(0))
    for knowledge in ("unaware", "aware", "oracle"):
        save_capture(observe(round_, ThreatModel(knowledge)), tmp_path / knowledge)
        again = load_capture(tmp_path / knowledge)
        assert again.task.spec == client.task.spec
        assert again.defense == (NoDefense() if knowledge == "unaware" else defense)
        assert all(torch.equal(again.state[name], value) for name, value in client.state.items())


@pytest.mark.parametrize(("model", "place"), [("mlp", "predictor"), ("resnet18", "fc"), ("convnet", "predictor.2")])
def test_the_dense_one_fits_every_network_with_a_last_linear_layer(model, place):
    task = build_task(TaskSpec(model, (3, 16, 16), 4))
    made, state = PRECODE().install(task, initial_state(task, generator(0)), generator(1))
    assert made.spec.options["place"] == place
    assert state[f"{place}.bottleneck.statistics.weight"].shape[0] == 512


def test_the_early_one_halves_the_channels_if_not_told_otherwise(lenet):
    client = put(VariationalBottleneck(), lenet)
    assert client.state["encoder.0.bottleneck.statistics.weight"].shape == (16, 4, 5, 5), "8 is the least"
    task = build_task(TaskSpec("resnet18", (3, 16, 16), 4))
    made, state = VariationalBottleneck(place="layer1").install(task, initial_state(task, generator(0)), generator(1))
    assert state["layer1.bottleneck.statistics.weight"].shape == (64, 64, 5, 5)
    assert made.has_batchnorm


def test_one_inside_the_other_can_be_built_but_not_trained(lenet):
    both = Chain((DENSE, EARLY))
    client = put(both, lenet)
    assert client.task.spec.options["agreed.agreed.channels"] == 4
    assert build_task(client.task.spec).parameter_names == client.task.parameter_names
    with pytest.raises(DefenseError, match=r"expected a network with one, got .* with 2"):
        send(client, both, Tape(generator(0)))


@BOTH
def test_what_it_cannot_do_is_refused(defense, lenet):
    with pytest.raises(DefenseError, match="with 0; let one such defence install"):
        send(lenet, defense, Tape(generator(0)))
    client = put(defense, lenet)
    with pytest.raises(DefenseError, match="no other noise"):
        send(client, Chain((LearnablePerturbation(), defense)), Tape(generator(0)))


def test_networks_without_place_for_it_are_refused(lenet):
    mlp = build_task(TaskSpec("mlp", (3, 8, 8), 4))
    state = initial_state(mlp, generator(0))
    with pytest.raises(DefenseError, match="got ''; choose among encoder"):
        VariationalBottleneck().install(mlp, state, generator(0))
    with pytest.raises(DefenseError, match=r"expected it to return maps \(c, h, w\), got \(128,\)"):
        VariationalBottleneck(place="encoder").install(mlp, state, generator(0))
    with pytest.raises(DefenseError, match=r"got 'encoder\.9'; choose among"):
        VariationalBottleneck(place="encoder.9").install(lenet.task, lenet.state, generator(0))
    task = build_task(TaskSpec("tiny_headless:build", (3, 8, 8), 4))
    with pytest.raises(DefenseError, match=r"PRECODE: .* last linear layer"):
        PRECODE().install(task, initial_state(task, generator(0)), generator(0))
