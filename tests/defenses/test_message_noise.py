import pytest
import torch
from scipy import stats

from leakward.defenses import GaussianNoise, LaplacianNoise
from leakward.defenses.laplacian_noise import standard_laplace
from leakward.tape import Tape
from leakward.types import generator

ENTRIES = 200_000


def noise_of(defense, seed=0):
    return defense.on_update({"weight": torch.zeros(ENTRIES)}, {}, Tape(generator(seed)))[0]["weight"].double()


def test_gaussian_moments():
    noise = noise_of(GaussianNoise(0.3))
    assert float(noise.mean()) == pytest.approx(0, abs=0.003)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)
    assert stats.kstest(noise.numpy(), "norm", args=(0, 0.3)).pvalue > 1e-3


def test_laplacian_moments():
    noise = noise_of(LaplacianNoise(0.3))
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)
    assert float(noise.abs().mean()) == pytest.approx(0.3, rel=0.01)
    assert float(noise.var()) == pytest.approx(2 * 0.3**2, rel=0.03)
    assert stats.kstest(noise.numpy(), "laplace", args=(0, 0.3)).pvalue > 1e-3


def test_laplacian_inverse_is_finite_at_the_ends_and_exact_between():
    ends = standard_laplace(torch.tensor([0.0, 1 - 2.0**-24, 0.5]))
    assert torch.isfinite(ends).all()
    assert ends[0] < -15 < 15 < ends[1]
    assert ends[2] == 0
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    torch.testing.assert_close(standard_laplace(u), torch.from_numpy(stats.laplace.ppf(u.numpy())))


@pytest.mark.parametrize("defense", [GaussianNoise(0.0), LaplacianNoise(0.0)])
def test_no_noise_changes_nothing_and_leaves_full_trust(defense):
    message = {"weight": torch.randn(5, generator=generator(0)), "bias": torch.zeros(2)}
    assert all(torch.equal(v, message[k]) for k, v in defense.on_update(message, {}, Tape(generator(0)))[0].items())
    found = defense.evidence(message, 1)
    assert all((weight == 1).all() for weight in found.weight.values())
