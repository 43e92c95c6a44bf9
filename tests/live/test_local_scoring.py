"""A reconstruction beside the images that a site trained on."""

import pytest
import torch

from leakward.errors import LeakwardError
from leakward.live import PrivateBatch, shown
from leakward.types import Batch, generator


@pytest.fixture
def private() -> PrivateBatch:
    images = torch.rand(6, 1, 12, 12, generator=generator(0))
    labels = torch.arange(6)
    return PrivateBatch(Batch(images[:2], labels[:2]), Batch(images[2:], labels[2:]))


def test_the_images_in_any_order_are_all_of_them(private):
    found = shown(private.batch.images.flip(0), private)
    assert (found.identified, found.ssim, found.images, found.among) == (1.0, pytest.approx(1.0), 2, 6)
    assert found.psnr == 100.0


def test_others_of_the_site_are_none_of_them(private):
    found = shown(private.others.images[:2], private)
    assert found.identified == 0.0
    assert found.ssim < 0.5


def test_one_of_two(private):
    found = shown(torch.stack([private.others.images[0], private.batch.images[1]]), private)
    assert found.identified == 0.5


def test_as_many_images_are_needed(private):
    with pytest.raises(LeakwardError, match="of the same number as the capture"):
        shown(private.batch.images[:1], private)
