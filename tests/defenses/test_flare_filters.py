"""NVIDIA FLARE's filters as defences, against FLARE itself."""

import numpy as np
import pytest
import torch
from client_replies import GRADIENT, TRAIN, own, send
from torch.func import grad
from torch.testing import assert_close

from leakward.defenses import FlarePercentile, FlareSVT
from leakward.defenses.engines.surrogates import clip_entries
from leakward.errors import DefenseError, DivergedError
from leakward.federated import NoDefense, Reply
from leakward.tape import Tape
from leakward.types import generator

pytest.importorskip("nvflare", reason="nvflare is not installed")

KINDS = {"full": "WEIGHTS", "diff": "WEIGHT_DIFF"}
MILD = {"fraction": 0.5, "epsilon": 1e5, "noise_var": 1e3, "gamma": 0.01}


def flare(kind, reply, transfer, steps=None):
    """Return what FLARE sends: the whole way from a task result through the filter to a task result."""
    from nvflare.apis.dxo import DXO, from_shareable
    from nvflare.apis.fl_context import FLContext

    before, after = ({n: v.numpy() for n, v in state.items()} for state in (reply.before, reply.after))
    data = after if transfer == "full" else {name: after[name] - before[name] for name in after}
    meta = {} if steps is None else {"NUM_STEPS_CURRENT_ROUND": steps}
    found = kind.process(DXO(KINDS[transfer], data, meta).to_shareable(), FLContext())
    return {name: torch.as_tensor(np.asarray(value)) for name, value in from_shareable(found).data.items()}


def check_equal(sent, expected, reply, transfer):
    for name, value in sent.tensors.items():
        moved = reply.before[name] - expected[name] if transfer == "full" else -expected[name]
        assert torch.equal(value, moved / reply.rate)
    for name, value in sent.buffers.items():
        whole = expected[name] if transfer == "full" else reply.before[name] + expected[name]
        assert_close(value, whole.to(value.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("recipe", [TRAIN, GRADIENT])
@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("transfer", KINDS)
def test_percentile_is_what_flare_sends(batchnorm, transfer, steps, recipe):
    from nvflare.app_common.filters import PercentilePrivacy

    reply, told = own(batchnorm, recipe), steps is not None
    defense = FlarePercentile(30.0, 0.002, transfer, count_steps=told)
    expected = flare(PercentilePrivacy(30.0, 0.002), reply, transfer, reply.steps if told else None)
    check_equal(send(batchnorm, defense, recipe), expected, reply, transfer)


@pytest.mark.parametrize("settings", [{}, MILD, MILD | {"replace": False, "tau": 0.0}])
@pytest.mark.parametrize("transfer", KINDS)
def test_svt_is_what_flare_sends_with_the_same_random_numbers(batchnorm, transfer, settings):
    from nvflare.app_common.filters import SVTPrivacy

    reply, tape = own(batchnorm, TRAIN), Tape(generator(0))
    sent = send(batchnorm, FlareSVT(**settings, transfer=transfer, count_steps=True), TRAIN, tape)
    state = np.random.get_state()
    words = [int(word) for word in tape.values[-1] * 2**16]
    np.random.set_state(np.random.RandomState(words).get_state())
    expected = flare(SVTPrivacy(**settings), reply, transfer, reply.steps)
    np.random.set_state(state)
    check_equal(sent, expected, reply, transfer)


@pytest.mark.parametrize(("percentile", "least"), [(10.0, 0.09), (0.5, 0.004)])
def test_on_whole_weights_percentile_clips_the_model_and_shows_the_change_of_small_weights(lenet, percentile, least):
    """FLARE's recipes send whole weights, and the filter takes them for changes. 2.6 % of these are below 0.01."""
    reply, defense = own(lenet, GRADIENT), FlarePercentile(percentile)
    sent = send(lenet, defense, GRADIENT)
    weights = torch.cat([(lenet.state[n] - 0.1 * v).flatten() for n, v in sent.tensors.items()])
    assert weights.abs().max() < 0.0101
    assert (weights.abs() < 1e-7).float().mean() > least
    seen = Reply(lenet.state, sent.tensors, {}, 4, GRADIENT)
    found = defense.interpret(seen)
    shown = torch.cat([found.weight[name].flatten() for name in sent.tensors]).bool()
    truth, told = (torch.cat([part[n].flatten() for n in sent.tensors]) for part in (reply.message, found.message))
    whole = torch.cat([value.flatten() for value in reply.after.values()]).abs()
    between = (whole >= whole.quantile(percentile / 100)) & (whole < 0.01)
    assert torch.equal(shown, between)
    assert between.any() == (percentile < 2)
    assert_close(told[shown], truth[shown], rtol=1e-4, atol=1e-6)
    assert not told[~shown].any()


def test_stock_svt_leaves_less_than_a_tenth_and_that_is_noise(lenet):
    update = own(lenet, GRADIENT)
    sent = send(lenet, FlareSVT(transfer="diff"), GRADIENT)
    truth, noisy = (torch.cat([v.flatten() for v in part.values()]) for part in (update.message, sent.tensors))
    released = (noisy != 0).float().mean()
    assert 0.08 < released < 0.1  # some entries are drawn twice
    assert torch.cosine_similarity(truth, noisy, dim=0).abs() < 0.2


@pytest.mark.parametrize(("field", "bad"), [("gamma", 0.0), ("percentile", 101.0)])
def test_what_flare_would_send_unfiltered_is_an_error(lenet, field, bad):
    from nvflare.app_common.filters import PercentilePrivacy

    reply = own(lenet, GRADIENT)
    raw = flare(PercentilePrivacy(**{field: bad}), reply, "full")
    assert all(torch.equal(raw[name], value) for name, value in reply.after.items())
    defense = FlarePercentile()
    object.__setattr__(defense, field, bad)  # the field itself would be refused
    with pytest.raises(DefenseError, match="expected filtered weights, got None, for which FLARE sends them"):
        send(lenet, defense, GRADIENT)


def test_a_choice_without_end_is_refused(lenet):
    with pytest.raises(DefenseError, match=r"expected \d+ entries to come near tau = 1\.0, got too few"):
        send(lenet, FlareSVT(tau=1.0, epsilon=1e9), GRADIENT)


@pytest.mark.parametrize("defense", [FlarePercentile, FlareSVT])
def test_broken_weights_are_refused(lenet, defense):
    broken = lenet._replace(images=lenet.images * float("nan"))
    with pytest.raises(DivergedError, match="expected the client's weights to be finite, got others in"):
        send(broken, defense(), GRADIENT)


def test_numbers_of_others_are_left_alone(lenet):
    before = np.random.get_state()[1].copy()
    send(lenet, FlareSVT(), GRADIENT)
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("transfer", KINDS)
def test_the_attacker_of_svt_trusts_what_was_sent_and_was_not_clipped(lenet, transfer):
    defense = FlareSVT(**MILD, transfer=transfer)
    sent = send(lenet, defense, GRADIENT)
    found = defense.interpret(Reply(lenet.state, sent.tensors, {}, 4, GRADIENT))
    for name, value in sent.tensors.items():
        weight = lenet.state[name]
        small = weight.abs() < 0.01 if transfer == "full" else torch.ones_like(weight, dtype=torch.bool)
        released = value != 0 if transfer == "diff" else (weight - 0.1 * value).abs() > 1e-6
        assert torch.equal(found.weight[name].bool(), small & released)


@pytest.mark.parametrize("recipe", [TRAIN, GRADIENT])
def test_the_attacker_replays_the_clipping_of_changes(batchnorm, recipe):
    defense = FlarePercentile(0.0, 0.002, "diff", count_steps=True)
    sent, replayed = (send(batchnorm, one, recipe) for one in (defense, defense.replay()))
    bound = 0.002 * (4 if recipe is TRAIN else 1) / (1 if recipe is TRAIN else 0.1)
    clipped = [value.abs() > 0.999 * bound for value in sent.tensors.values()]
    assert 0.05 < torch.cat([part.flatten() for part in clipped]).float().mean() < 0.95
    for name, value in sent.tensors.items():
        assert_close(replayed.tensors[name], value, rtol=1e-4, atol=1e-6)
    for name, value in sent.buffers.items():
        assert_close(replayed.buffers[name], value, rtol=1e-4, atol=1e-6)


def test_of_whole_weights_the_attacker_replays_the_buffers(batchnorm):
    defense = FlarePercentile(0.0, 0.3)
    sent, replayed, plain = (send(batchnorm, one, TRAIN) for one in (defense, defense.replay(), NoDefense()))
    for name, value in sent.buffers.items():
        assert_close(replayed.buffers[name], value, rtol=1e-4, atol=1e-6)
    assert any(value.abs().max() > 0.3 for name, value in plain.buffers.items() if "running" in name)
    assert all(torch.equal(replayed.tensors[name], value) for name, value in plain.tensors.items())


def test_a_clipped_entry_still_has_a_slope():
    value = torch.tensor([-100.0, -0.1, 0.0, 0.1, 100.0])
    assert torch.equal(clip_entries(value, 1.0), value.clamp(-1, 1))
    slope = grad(lambda v: clip_entries(v, 1.0).sum())(value)
    assert (slope > 0).all()
    assert slope[1:4].min() > 100 * slope[0]
