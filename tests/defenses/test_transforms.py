"""Against Pillow, of which the transforms are a differentiable form."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.testing import assert_close

from leakward.defenses import transforms
from leakward.tape import Tape
from leakward.types import generator

SIDE = 256
UP, DOWN = torch.tensor([0.9]), torch.tensor([0.1])
STILL = {
    "invert": (0, ImageOps.invert),
    "solarize": (4, lambda image: ImageOps.solarize(image, 256 * 5 / 9)),
    "posterize": (5, lambda image: ImageOps.posterize(image, 6)),
    "autocontrast": (0, ImageOps.autocontrast),
    "equalize": (0, ImageOps.equalize),
}
ENHANCED = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}


@pytest.fixture(scope="module")
def smooth():
    """One smooth image of bytes, in Pillow's form and as a tensor."""
    coarse = torch.rand(1, 3, 16, 16, generator=generator(0))
    fine = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)
    level = (0.8 * 255 * fine).round()
    return Image.fromarray(level[0].permute(1, 2, 0).numpy().astype(np.uint8)), level / 255


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def transformed(name, level, images, draw=UP):
    return transforms.TRANSFORMS[name](images, level / 9, Tape(values=[draw]))


def inner(images):
    """Leave out where Pillow has a border of its own."""
    return images[..., 124:132, 124:132]


@pytest.mark.parametrize("name", STILL)
def test_pixel_by_pixel_it_is_what_pillow_does(name, smooth):
    image, images = smooth
    level, pillow = STILL[name]
    assert_close(transformed(name, level, images), tensor(pillow(image)), rtol=0, atol=2 / 255)


@pytest.mark.parametrize(("draw", "direction"), [(UP, 1), (DOWN, -1)])
@pytest.mark.parametrize("name", ENHANCED)
def test_enhancers_are_those_of_pillow(name, draw, direction, smooth):
    image, images = smooth
    expected = ENHANCED[name](image).enhance(1 + direction * 0.5 * 6 / 9)
    assert_close(transformed(name, 6, images, draw), tensor(expected), rtol=0, atol=2 / 255)


@pytest.mark.parametrize(
    ("name", "level", "matrix"),
    [
        ("translate_x", 9, (1, 0, 150 / 331 * SIDE, 0, 1, 0)),
        ("translate_y", 3, (1, 0, 0, 0, 1, 50 / 331 * SIDE)),
        ("shear_y", 5, (1, 0, 0, 0.3 * 5 / 9, 1, 0)),
    ],
)
def test_moves_are_those_of_pillow(name, level, matrix, smooth):
    image, images = smooth
    expected = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    assert_close(inner(transformed(name, level, images)), inner(tensor(expected)), rtol=0, atol=2 / 255)


def test_rotation_is_to_the_left_and_grey_comes_in(smooth):
    image, images = smooth
    found = transformed("rotate", 9, images)
    expected = tensor(image.rotate(30, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)))
    assert_close(inner(found), inner(expected), rtol=0, atol=2 / 255)
    assert_close(found[0, :, 0, 0], torch.full((3,), 0.5))


def test_a_shift_by_whole_pixels_moves_zeros_in():
    images = torch.arange(1.0, 332.0).expand(1, 1, 2, 331) / 331
    right, left = (transformed("translate_x", 9, images, draw) for draw in (UP, DOWN))
    assert_close(right[0, 0, 0], torch.cat([images[0, 0, 0, 150:], torch.zeros(150)]), rtol=0, atol=1e-4)
    assert_close(left[0, 0, 0], torch.cat([torch.zeros(150), images[0, 0, 0, :-150]]), rtol=0, atol=1e-4)


def test_there_are_fifty_and_the_published_policies_are_these():
    assert len(transforms.NUMBERED) == 50
    assert [transforms.NUMBERED[i] for i in (3, 1, 7)] == [("translate_x", 9), ("contrast", 6), ("translate_y", 2)]
    assert [transforms.NUMBERED[i] for i in (43, 18)] == [("translate_y", 3), ("contrast", 7)]
    assert {name for name, _ in transforms.NUMBERED} == {*transforms.TRANSFORMS}


@pytest.mark.parametrize("images", [torch.zeros(2, 1, 6, 6), torch.ones(2, 3, 6, 6)], ids=["black", "white"])
@pytest.mark.parametrize("number", range(50))
def test_flat_images_stay_finite_and_in_range(number, images):
    found = transforms.apply(number, images, Tape(generator(0)))
    assert found.shape == images.shape
    assert ((found >= -1e-5) & (found <= 1 + 1e-5)).all()


@pytest.mark.parametrize("name", sorted(transforms.TRANSFORMS))
def test_derivatives_pass_through_several_candidates_at_once(name):
    def total(images, draw):
        return transformed(name, 5, images, draw).square().sum()

    slope = vmap(grad(total))(torch.rand(2, 1, 3, 6, 6, generator=generator(0)), torch.stack([UP, DOWN]))
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0
