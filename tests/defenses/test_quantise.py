import pytest
import torch
from torch.func import grad

from leakward.defenses import Quantise
from leakward.defenses.laplacian_noise import standard_laplace
from leakward.defenses.quantise import posterior
from leakward.tape import Tape
from leakward.types import generator


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
def test_the_attacker_comes_closer_by_as_much_as_the_trust_says(levels):
    value = standard_laplace(torch.rand(40_000, generator=generator(2)))
    sent = quantise(value, levels)
    found = Quantise(levels).evidence({"v": sent}, 1)
    error = (found.message["v"] - value).square().mean()
    assert error < (sent - value).square().mean()
    assert float(error / value.var()) == pytest.approx(float(1 - found.weight["v"].mean()), abs=0.02)


def test_a_coarse_scale_tells_signs_and_a_fine_one_everything():
    mean, trust = posterior(levels=1, spread=0.01, like=torch.zeros(1))
    # p ~ v exp(-sqrt(2) v / t) has mean sqrt(2) t and variance t^2;  p ~ exp(-sqrt(2) |v| / t) is what was known before
    assert float(mean[1]) == pytest.approx(2**0.5 * 0.01, rel=0.05)
    assert float(trust[0]) == pytest.approx(0, abs=0.05)
    fine, sure = posterior(levels=100, spread=50.0, like=torch.zeros(1))
    torch.testing.assert_close(fine[1:], torch.arange(1.0, 101), rtol=0, atol=0.02)
    assert (sure > 0.999).all()
