import pytest
import torch

from leakward.data.phantom import KINDS, draw, load
from leakward.errors import DataError


def test_equal_seeds_draw_equal_images_and_other_seeds_others():
    first, again, other = (load(count=64, size=16, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_an_image_does_not_depend_on_how_many_are_drawn():
    assert torch.equal(load(count=64, size=16).images, load(count=80, size=16).images[:64])


@pytest.mark.parametrize("size", [16, 28, 33])
def test_images_have_the_asked_size_and_range(size: int):
    data = load(count=64, size=size)
    assert data.images.shape == (64, 3, size, size)
    assert data.classes == tuple(KINDS)
    assert sorted(len(index) for index in data.splits.values()) == [13, 13, 38]


def test_a_larger_picture_shows_the_same_cell():
    small = torch.from_numpy(draw(6, 28, 0, 5))
    large = torch.from_numpy(draw(6, 56, 0, 5)).unflatten(0, (28, 2)).unflatten(2, (28, 2)).mean((1, 3))
    assert (small - large).abs().mean() < 0.03


def test_classes_can_be_told_apart_and_images_are_all_different():
    data = load(count=600)
    train, labels = data.subset("train")
    means = torch.stack([train[labels == k].mean(0).flatten() for k in range(len(KINDS))])
    held, truth = data.subset("test")
    accuracy = (torch.cdist(held.flatten(1), means).argmin(1) == truth).double().mean()
    assert accuracy > 3 / len(KINDS)
    distance = torch.cdist(train.flatten(1), train.flatten(1)) + torch.eye(len(train)) * 1e9
    assert distance.min() > 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "x"}, "no path"),
        ({"size": 8}, "size 16 to 512"),
        ({"size": 600}, "600"),
        ({"count": 10}, "at least 64"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings: dict[str, object], words: str):
    with pytest.raises(DataError, match=words):
        load(**settings)  # type: ignore[arg-type]
