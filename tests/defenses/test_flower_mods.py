"""Flower's mods as defences, against Flower itself."""

import math

import numpy as np
import pytest
import torch
from client_replies import GRADIENT, TRAIN, own, send
from torch.testing import assert_close

from leakward.defenses import FlowerAdaptiveClipping, FlowerFixedClipping, FlowerLocalDP
from leakward.defenses.accounting import gaussian_guarantee
from leakward.errors import DefenseError, DivergedError
from leakward.federated import Sample, client_round
from leakward.tape import Tape
from leakward.types import generator

pytest.importorskip("flwr", reason="flwr is not installed")

NORM = 0.01
DP = {"clipping_norm": NORM, "sensitivity": 2 * NORM, "epsilon": 50.0, "delta": 1e-3}
DEFENSES = {
    "fixed": FlowerFixedClipping(NORM),
    "adaptive": FlowerAdaptiveClipping(NORM),
    "local": FlowerLocalDP(**DP),
    "floating": FlowerFixedClipping(NORM, counters=False),
}


def flower(mod, reply, counters=True):
    """Return what a client app of Flower with this mod replies."""
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.supercore.task_identity import TaskIdentity

    def record(state):
        return ArrayRecord(
            {n: Array(v.numpy()) for n, v in state.items() if counters or v.is_floating_point()},
        )

    app = ClientApp(mods=[mod])

    @app.train()
    def train(message, context):
        content = {"arrays": record(reply.after), "metrics": MetricRecord({"num-examples": 4})}
        return Message(RecordDict(content), reply_to=message)

    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    content = {"arrays": record(reply.before), "config": ConfigRecord({"clipping_norm": NORM})}
    found = app(Message(RecordDict(content), 1, "train"), Context(1, 1, {}, RecordDict(), {})).content
    arrays = {name: torch.as_tensor(value.numpy()) for name, value in found.array_records["arrays"].items()}
    return arrays, found.metric_records["metrics"]


def mods():
    from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod

    return {
        "fixed": fixedclipping_mod,
        "adaptive": adaptiveclipping_mod,
        "local": LocalDpMod(**DP),
        "floating": fixedclipping_mod,
    }


@pytest.mark.parametrize("recipe", [TRAIN, GRADIENT])
@pytest.mark.parametrize("name", DEFENSES)
def test_it_is_what_flower_sends(batchnorm, name, recipe):
    reply, tape = own(batchnorm, recipe), Tape(generator(0))
    sent = send(batchnorm, DEFENSES[name], recipe, tape)
    state = np.random.get_state()
    if name == "local":
        words = [int(word) for word in tape.values[-1] * 2**16]
        np.random.set_state(np.random.RandomState(words).get_state())
    expected, metrics = flower(mods()[name], reply, counters=name != "floating")
    np.random.set_state(state)
    for key, value in sent.tensors.items():
        assert torch.equal(value, (reply.before[key] - expected[key]) / reply.rate)
    for key, value in sent.buffers.items():
        assert torch.equal(value, expected.get(key, value).to(value.dtype))
    assert metrics.get("norm_bit", 1) == 1  # it was clipped


@pytest.mark.parametrize("counters", [True, False])
def test_step_counters_of_batchnorm_shrink_the_change_if_they_are_sent(batchnorm, counters):
    """Four local steps move one counter by 4, which is longer than the rest together."""
    reply = own(batchnorm, TRAIN)
    change = {name: (reply.after[name] - value).double() for name, value in reply.before.items()}
    floating = math.sqrt(sum(float(v.square().sum()) for n, v in change.items() if "tracked" not in n))
    length = math.hypot(floating, 4.0 if counters else 0.0)
    assert floating < 2
    sent = send(batchnorm, FlowerFixedClipping(NORM, counters=counters), TRAIN)
    for name, value in sent.tensors.items():
        assert_close(value, reply.message[name] * NORM / length, rtol=1e-3, atol=1e-7)
    [tracked] = [value for name, value in sent.buffers.items() if "tracked" in name]
    assert int(tracked) == 4


@pytest.mark.parametrize("recipe", [TRAIN, GRADIENT])
@pytest.mark.parametrize("counters", [True, False])
def test_the_attacker_replays_the_same_clipping(batchnorm, counters, recipe):
    defense = FlowerFixedClipping(NORM, counters)
    sent, replayed = (send(batchnorm, one, recipe) for one in (defense, defense.replay()))
    for name, value in sent.tensors.items():
        assert_close(replayed.tensors[name], value, rtol=1e-3, atol=1e-6)
    for name, value in sent.buffers.items():
        assert_close(replayed.buffers[name], value, rtol=1e-3, atol=1e-6)


def test_the_noise_has_the_size_that_the_settings_ask_for(lenet):
    defense = FlowerLocalDP(clipping_norm=1e-4, sensitivity=1.0, epsilon=2.0, delta=1e-5)
    sent = send(lenet, defense, GRADIENT)
    noise = torch.cat([value.flatten() for value in sent.tensors.values()])
    assert defense.std == pytest.approx(4.8448 / 2, rel=1e-4)
    assert float(noise.std()) == pytest.approx(defense.std / 0.1, rel=0.05)


def test_what_is_proven_follows_from_the_noise_and_not_from_the_epsilon_that_is_claimed():
    claimed = {"epsilon": 1.0, "delta": 1e-5}
    right, doubled = (FlowerLocalDP(1.0, sensitivity, **claimed) for sensitivity in (2.0, 4.0))
    one = right.guarantee(1.0, 1, 1e-5)
    assert one == gaussian_guarantee(right.std / 2, 1.0, 1, 1e-5)
    assert 0.5 < one.epsilon < 1.0  # the classical formula is loose, and right
    assert right.guarantee(0.5, 10, 1e-5, steps=2) == right.guarantee(0.75, 10, 1e-5)
    assert right.guarantee(1.0, 10, 1e-5).epsilon > 3 * one.epsilon
    assert doubled.guarantee(1.0, 1, 1e-5).epsilon < one.epsilon
    assert FlowerLocalDP(1.0, 0.5, **claimed).guarantee(1.0, 1, 1e-5).epsilon > 3
    assert FlowerLocalDP(1.0, 1e-5, **claimed).guarantee(1.0, 1, 1e-5) is None


def test_a_client_that_drew_no_image_sends_noise(lenet):
    defense, sample = FlowerLocalDP(1.0, 2.0), Sample((torch.tensor([], dtype=torch.long),), 4.0, 4)
    client = (lenet.task, lenet.state, lenet.images, lenet.labels, GRADIENT)
    sent = client_round(*client, defense, Tape(generator(0)), sample=sample).update.tensors
    noise = torch.cat([value.flatten() for value in sent.values()])
    assert float(noise.std()) == pytest.approx(defense.std / 0.1, rel=0.05)
    with pytest.raises(DefenseError, match="some change of the weights"):
        client_round(*client, FlowerFixedClipping(), Tape(generator(0)), sample=sample)


def test_weights_that_are_not_finite_are_refused_for_flower_would_not_clip_them(batchnorm):
    from leakward.defenses.engines.flower import fixed_clipping

    before = {"a": np.zeros(3, np.float32), "b": np.zeros(1, np.float32)}
    sent = fixed_clipping(before, {"a": np.full(3, 7.0, np.float32), "b": np.full(1, np.nan, np.float32)}, 1.0)
    assert (sent["a"] == 7.0).all()
    broken = batchnorm._replace(images=batchnorm.images * float("nan"))
    with pytest.raises(DivergedError, match="expected the client's weights to be finite, got others in"):
        send(broken, FlowerFixedClipping(), GRADIENT)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"a": np.zeros(3, np.float32)}, "some change of the weights, got: float division by zero"),
        ({"a": np.ones(3, np.int64)}, "expected floating arrays .* got: Cannot cast"),
        ({"b": np.ones(3, np.float32)}, "expected a filtered reply, got: fixedclipping_mod expects the keys"),
    ],
)
def test_where_flower_fails_so_does_the_defence(after, message):
    from leakward.defenses.engines.flower import fixed_clipping

    before = {"a": np.zeros(3, next(iter(after.values())).dtype)}
    with pytest.raises(DefenseError, match=message):
        fixed_clipping(before, after, 0.5)
