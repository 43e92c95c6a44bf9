"""SSIM against scikit-image, the reference values and its own symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from leakward.errors import LeakwardError
from leakward.metrics import moments, ssim, ssim_matrix
from leakward.types import generator


def skimage_ssim(one: Tensor, other: Tensor) -> float:
    return structural_similarity(
        one.double().numpy(),
        other.double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=0,
    )


def test_equals_the_reference_values(pair: tuple[Tensor, Tensor], reference: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(ssim(*pair).numpy(), reference["ssim_skimage_gaussian"], rtol=1e-7)


@settings(max_examples=10, deadline=None)
@given(
    c=st.sampled_from([1, 3]),
    h=st.integers(11, 30),
    w=st.integers(11, 30),
    scale=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_equals_scikit_image(c: int, h: int, w: int, scale: float, seed: int) -> None:
    rng = generator(seed)
    one = torch.rand(2, c, h, w, generator=rng)
    other = one + scale * (torch.rand(2, c, h, w, generator=rng) - one)
    expected = torch.tensor([skimage_ssim(*images) for images in zip(one, other, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(ssim(one, other), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ssim(one, other), ssim(other, one), rtol=0, atol=1e-12)


def test_the_matrix_equals_every_pair(gallery: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    guesses = torch.rand(3, 3, 16, 14, generator=generator(1))
    pairs = torch.stack([ssim(gallery, guess.expand_as(gallery)) for guess in guesses])
    torch.testing.assert_close(ssim_matrix(guesses, moments(gallery)), pairs, rtol=0, atol=1e-12)
    monkeypatch.setattr("leakward.metrics.structural_similarity.BLOCK", 5 * gallery[0].numel())
    torch.testing.assert_close(ssim_matrix(guesses, moments(gallery)), pairs, rtol=0, atol=1e-12)


def test_a_copy_scores_one_and_constant_images_compare_by_brightness() -> None:
    grey = torch.full((1, 1, 12, 12), 0.5)
    assert ssim(grey, grey).item() == pytest.approx(1, abs=1e-12)
    assert ssim(torch.zeros_like(grey), torch.ones_like(grey)).item() == pytest.approx(1e-4 / (1 + 1e-4))


def test_small_images_are_refused() -> None:
    with pytest.raises(LeakwardError, match="at least 11 x 11 pixels, got 10 x 12"):
        ssim(torch.zeros(1, 1, 10, 12), torch.zeros(1, 1, 10, 12))


def test_a_gallery_of_another_size_is_refused(gallery: Tensor) -> None:
    with pytest.raises(LeakwardError, match="gallery's image shape"):
        ssim_matrix(gallery[..., :12], moments(gallery))
