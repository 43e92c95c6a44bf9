"""Measures that not every audit takes: the relative gain, neighbours among known images, and errors by region."""

import pytest
import torch

from leakward.metrics import Neighbours, by_region, k_iip, mse, rdlv, ssim, ssim_within
from leakward.types import generator


def noise(seed, *shape):
    return torch.rand(*shape, generator=generator(seed))


def test_the_relative_value_is_that_of_its_formula():
    images = noise(0, 3, 1, 20, 20) * torch.linspace(0, 1, 20)
    guess, mean = (0.5 * images + 0.5 * noise(1, 3, 1, 20, 20)), images.mean(0)
    prior, found = ssim(images, mean.expand_as(images)), ssim(images, guess)
    assert (prior > 0.01).all()
    torch.testing.assert_close(rdlv(images, guess, mean), found / prior - 1)
    torch.testing.assert_close(rdlv(images, images, mean), 1 / prior - 1)
    assert (rdlv(images, mean.expand_as(images), mean) == 0).all()


def test_a_mean_image_that_resembles_nothing_gives_a_finite_value():
    images = noise(0, 1, 1, 16, 16).round()
    assert float(rdlv(images, images, 1 - images[0])) == pytest.approx(100 * (1 - float(ssim(images, 1 - images))))


def test_neighbours_are_counted_by_cosine_and_ties_count():
    """Directions of 0, 30, 60 and 90 degrees, twice the last; the lengths do not matter."""
    angles = torch.deg2rad(torch.tensor([0.0, 30.0, 60.0, 90.0, 90.0]))
    features = torch.stack([angles.cos(), angles.sin()], 1) * torch.arange(1, 6)[:, None]
    own = torch.tensor([False, True, False, True, True])
    known = Neighbours(lambda images: images.flatten(1)[:, :2], features, own)

    def looks(degrees):
        angle = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([angle.cos(), angle.sin()]).view(1, 1, 1, 2)

    images = torch.cat([looks(20.0), looks(80.0)])
    assert k_iip(images, known, 1).tolist() == [1, 2], "the nearest of the second is there twice"
    assert k_iip(images, known, 3).tolist() == [1, 2]
    assert k_iip(images, known, 5).tolist() == [3, 3]


def test_regions_have_the_errors_of_their_pixels():
    images, region = noise(0, 2, 3, 24, 24), torch.zeros(2, 24, 24)
    region[:, :, :12] = 1
    guess = images.clone()
    guess[:, :, :, 12:] = noise(1, 2, 3, 24, 12)
    found = by_region(images, guess, region)
    assert (found["mse_inside"] == 0).all()
    torch.testing.assert_close(found["mse_outside"], 2 * mse(images, guess))
    assert (found["ssim_inside"] > 0.8).all(), "windows across the border see both"
    assert (found["ssim_outside"] < found["ssim_inside"] - 0.5).all()


def test_similarity_in_a_region_is_the_mean_of_its_windows():
    images, guess = noise(0, 2, 1, 13, 13), noise(1, 2, 1, 13, 13)
    torch.testing.assert_close(ssim_within(images, guess, torch.ones(2, 13, 13)), ssim(images, guess))
    corner = torch.zeros(2, 13, 13)
    corner[:, 0, 0] = 1
    first = ssim(images[..., :11, :11], guess[..., :11, :11])
    torch.testing.assert_close(ssim_within(images, guess, corner), first)
