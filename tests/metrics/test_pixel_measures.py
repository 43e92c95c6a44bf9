"""MSE, PSNR, their gains and the papers' convention."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics import mse, mse_normalised, psnr, psnr_gain, psnr_normalised, ssim, ssim_gain
from leakward.metrics.checks import checked_pair
from leakward.types import generator

ZERO, HALF = torch.zeros(1, 3, 12, 12), torch.full((1, 3, 12, 12), 0.5)


def test_known_answers() -> None:
    assert mse(ZERO, HALF).item() == 0.25
    assert psnr(ZERO, HALF).item() == pytest.approx(6.0206, abs=1e-4)
    assert psnr(ZERO, ZERO).item() == 100
    assert psnr(ZERO, torch.ones_like(ZERO)).item() == 0


def test_equal_the_reference_values(pair: tuple[Tensor, Tensor], reference: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(mse(*pair).numpy(), reference["mse"], rtol=1e-9)
    np.testing.assert_allclose(psnr(*pair).numpy(), reference["psnr_skimage"], rtol=1e-9)
    np.testing.assert_allclose(psnr(*pair).numpy(), reference["psnr_invertinggradients"], rtol=1e-7)
    half = psnr_normalised(*pair, std=(0.5, 0.5, 0.5)).mean()
    np.testing.assert_allclose(half.numpy(), reference["psnr_invertinggradients_factor2"], rtol=1e-7)


def test_psnr_equals_scikit_image() -> None:
    one, other = torch.rand(2, 5, 3, 8, 9, generator=generator(0), dtype=torch.float64)
    expected = [peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(psnr(one, other).numpy(), expected, rtol=1e-12)


def test_one_std_gives_the_plain_psnr_and_a_scaled_error() -> None:
    one, other = torch.rand(2, 4, 3, 8, 8, generator=generator(1))
    std = (0.25,) * 3
    torch.testing.assert_close(psnr_normalised(one, other, std), psnr(one, other))
    torch.testing.assert_close(mse_normalised(one, other, std), 16 * mse(one, other))


def test_the_papers_convention_on_cifar10_constants() -> None:
    """Geiping's constants turn a normalised error of 3.6 into 12.02 - 10 log10(3.6) dB."""
    one, other = torch.rand(2, 1, 3, 8, 8, generator=generator(2))
    std = (0.2470, 0.2435, 0.2616)
    difference = psnr_normalised(one, other, std) + 10 * mse_normalised(one, other, std).log10()
    assert difference.item() == pytest.approx(12.02, abs=5e-3)


def test_the_normalised_psnr_averages_channels_in_decibels() -> None:
    one, other = torch.rand(2, 1, 3, 8, 8, generator=generator(3), dtype=torch.float64)
    std = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
    error = (((one - other) / std[:, None, None]) ** 2).mean()
    expected = (10 * torch.log10(std**-2 / error)).mean()
    torch.testing.assert_close(psnr_normalised(one, other, (0.1, 0.2, 0.4))[0], expected)


@pytest.mark.parametrize("std", [(0.5,), (0.5, 0.5, 0.0), ()])
def test_a_std_that_does_not_fit_is_refused(std: tuple[float, ...]) -> None:
    with pytest.raises(LeakwardError, match="3 positive numbers, one per channel"):
        mse_normalised(ZERO, HALF, std)


def test_gain_is_what_the_attack_adds_to_the_mean_image() -> None:
    truth, guess = torch.rand(2, 4, 3, 12, 12, generator=generator(4))
    control = torch.full((3, 12, 12), 0.5)
    assert psnr_gain(truth, control.expand_as(truth), control).abs().max() == 0
    assert ssim_gain(truth, control.expand_as(truth), control).abs().max() == 0
    for gain, measure in ((psnr_gain, psnr), (ssim_gain, ssim)):
        total = gain(truth, guess, control) + measure(truth, control.expand_as(truth))
        torch.testing.assert_close(total, measure(truth, guess))


@pytest.mark.parametrize("measure", [mse, psnr, ssim])
@pytest.mark.parametrize(
    ("guess", "reason"),
    [
        (torch.full_like(ZERO, float("nan")), "finite pixel values"),
        (torch.full_like(ZERO, 1.5), r"values in \[0, 1\], got 1.5 to 1.5"),
    ],
)
def test_unfit_reconstructions_are_refused(measure: Callable[..., Tensor], guess: Tensor, reason: str) -> None:
    with pytest.raises(LeakwardError, match=reason):
        measure(ZERO, guess)


@pytest.mark.parametrize(
    ("images", "guess", "reason"),
    [
        (ZERO, torch.zeros(2, 3, 12, 12), "of equal shape"),
        (ZERO[0], ZERO[0], "a batch"),
        (ZERO[:0], ZERO[:0], "one image"),
    ],
)
def test_unfit_shapes_are_refused_not_broadcast(images: Tensor, guess: Tensor, reason: str) -> None:
    with pytest.raises(LeakwardError, match=reason):
        checked_pair(images, guess)
