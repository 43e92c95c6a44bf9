import numpy as np
import pytest
import torch
from torch.func import grad

from leakward.defenses.correlation import pearson, penalty
from leakward.types import generator


def pair(*shape):
    rng = generator(3)
    return torch.rand(shape, generator=rng, dtype=torch.float64), torch.randn(shape, generator=rng, dtype=torch.float64)


def test_it_is_numpys_per_image_and_per_batch():
    x, guess = pair(3, 2, 4, 5)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(x.numpy(), guess.numpy(), strict=True)]
    np.testing.assert_allclose(pearson(x, guess, "image").numpy(), expected, rtol=1e-12)
    whole = np.corrcoef(x.numpy().flatten(), guess.numpy().flatten())[0, 1]
    np.testing.assert_allclose(pearson(x, guess, "batch").numpy(), [whole], rtol=1e-12)


def test_a_copy_a_negative_and_their_forms():
    x, _ = pair(2, 3, 4, 4)
    for guess, rho in ((3 * x + 1, 1.0), (1 - x, -1.0)):
        found = pearson(x, guess, "image")
        np.testing.assert_allclose(found.numpy(), [rho, rho], rtol=1e-12)
        assert float(penalty(found, "signed")) == pytest.approx(rho)
        assert float(penalty(found, "absolute")) == pytest.approx(1)
        assert float(penalty(found, "squared")) == pytest.approx(1)


def test_forms_act_on_each_image_before_the_mean():
    rho = torch.tensor([0.5, -0.5])
    assert [float(penalty(rho, form)) for form in ("signed", "absolute", "squared")] == [0.0, 0.5, 0.25]


@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize("form", ["signed", "absolute", "squared"])
def test_derivatives(form, per):
    x, guess = pair(2, 1, 3, 3)

    def value(left, right):
        return penalty(pearson(left, right, per), form)

    inputs = (x.requires_grad_(), guess.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_flat_images_give_no_correlation_and_a_finite_derivative():
    x, _ = pair(2, 1, 3, 3)
    flat = torch.full_like(x, 0.3)
    for left, right in ((x, flat), (flat, x), (flat, flat)):
        assert float(pearson(left, right, "image").abs().max()) < 1e-9
        assert torch.isfinite(grad(lambda guess, left=left: pearson(left, guess, "image").sum())(right)).all()
