import pytest
import torch
from torch.func import grad

from leakward.attacks import GaussianPrior
from leakward.defenses import Quantise
from leakward.defenses.laplacian_noise import standard_laplace
from leakward.federated import LocalTraining, run_round
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator


def quantise(value, levels, seed=0):
    return Quantise(levels).on_update({"v": value}, {}, Tape(generator(seed)))[0]["v"]


def test_by_hand():
    # norm 5, unit 5 / 2: 3 is 1.2 units, up if u < 0.2;  -4 is 1.6 units, up if u < 0.6
    value = torch.tensor([3.0, -4.0, 0.0])
    for drawn, expected in (([0.1, 0.5, 0.0], [5.0, -5.0, 0.0]), ([0.3, 0.7, 0.9], [2.5, -2.5, 0.0])):
        sent = Quantise(2).on_update({"v": value}, {}, Tape(values=[torch.tensor(drawn)]))[0]["v"]
        torch.testing.assert_close(sent, torch.tensor(expected))


@pytest.mark.parametrize("levels", [1, 7])
def test_it_is_right_on_average_and_never_off_by_more_than_a_unit(levels):
    value = torch.randn(20, generator=generator(1))
    drawn = torch.stack([quantise(value, levels, seed) for seed in range(2000)])
    unit = float(value.norm()) / levels
    assert float((drawn - value).abs().max()) <= unit * (1 + 1e-5)
    torch.testing.assert_close(drawn.mean(0), value, rtol=0, atol=5 * 0.5 * unit / 2000**0.5)
    assert float(drawn.sub(value).square().sum(1).mean()) <= min(20 / levels**2, 20**0.5 / levels) * unit**2 * levels**2


def test_a_silent_tensor_stays_silent_and_is_trusted():
    assert torch.equal(quantise(torch.zeros(3), 7), torch.zeros(3))
    assert torch.equal(Quantise().evidence({"v": torch.zeros(3)}, 1).weight["v"], torch.ones(3))


def test_its_derivative_is_one():
    slope = grad(lambda v: quantise(v, 7).sum())(torch.tensor([3.0, -4.0, 0.0]))
    assert torch.equal(slope, torch.ones(3))


@pytest.mark.parametrize("levels", [1, 7, 100])
def test_the_attacker_knows_how_much_noise_there_is(levels):
    value = standard_laplace(torch.rand(40_000, generator=generator(2)))
    sent = quantise(value, levels)
    assert float(Quantise(levels).noise(sent)) == pytest.approx(float((sent - value).square().mean()), rel=0.02)
    assert float(Quantise(levels).noise(torch.zeros(5))) == 0.0


def test_trust_falls_as_noise_rises():
    parts = {"small": torch.randn(200, generator=generator(3)), "large": torch.randn(4000, generator=generator(4))}
    message = {name: quantise(value, 7) for name, value in parts.items()} | {"silent": torch.zeros(3)}
    found, noise = Quantise(7).evidence(message, 1), {name: Quantise(7).noise(value) for name, value in message.items()}
    assert all(torch.equal(found.message[name], value) for name, value in message.items())
    torch.testing.assert_close(found.weight["large"], (noise["small"] / noise["large"]).expand(4000))
    assert found.weight["small"].eq(1).all()
    assert found.weight["silent"].eq(1).all()


def test_what_lies_on_the_scale_is_exact():
    message = {
        "exact": torch.tensor([3.0, -4.0]) / 5 * 7,
        "rounded": quantise(torch.randn(50, generator=generator(5)), 7),
    }
    weight = Quantise(7).evidence({"exact": torch.tensor([7.0, 0.0]), "rounded": message["rounded"]}, 1).weight
    assert weight["exact"].eq(1).all()
    assert weight["rounded"].eq(1).all(), "the only tensor with noise is the standard of the others"


def test_the_attacker_who_knows_of_it_recovers_more(lenet):
    public = Batch(torch.rand(64, 3, 12, 12, generator=generator(6)), torch.arange(64) % 4)
    error = dict.fromkeys(("unaware", "aware"), 0.0)
    for number in range(4):
        batch = Batch(lenet.images[number : number + 1], lenet.labels[number : number + 1])
        sent = run_round(lenet.task, lenet.state, batch, LocalTraining(), Quantise(7), generator(number))
        for knowledge in error:
            seen = observe(sent, ThreatModel(knowledge, labels=True, public=True), public)
            [found] = GaussianPrior(60).recover([seen], generator(1))
            error[knowledge] += float((found.images - batch.images).square().mean())
    assert error["aware"] < error["unaware"]
