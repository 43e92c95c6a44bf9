"""Folders of images: layouts, colours, sizes, splits, and sentences that name the file that is wrong."""

import numpy as np
import pytest
import torch
import written
from PIL import Image
from torch.testing import assert_close

from leakward.data import folder, load_data
from leakward.errors import DataError


def sizes(data):
    return {split: len(index) for split, index in data.splits.items()}


def test_flat_layout_is_carved_by_seed(tmp_path):
    written.tree(tmp_path)
    first, again, other = (folder.load("site", path=tmp_path, seed=seed) for seed in (0, 0, 1))
    assert sizes(first) == {"train": 12, "val": 4, "test": 4}
    assert first.classes == ("bad", "good")
    assert first.labels.tolist() == [0] * 10 + [1] * 10
    assert all(torch.equal(first.splits[s], again.splits[s]) for s in first.splits)
    assert not torch.equal(first.splits["val"], other.splits["val"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["train"], {"train": 12, "val": 4, "test": 4}),
        (["train", "test"], {"train": 16, "val": 4, "test": 20}),
        (["train", "val", "test"], {"train": 20, "val": 20, "test": 20}),
    ],
)
def test_given_splits_stay_what_they_are(tmp_path, given, expected):
    for split in given:
        written.tree(tmp_path / split)
    (tmp_path / "labels.csv").write_text("beside the splits, not read")
    assert sizes(folder.load("site", path=tmp_path)) == expected


def test_pixels_at_their_own_size_are_unchanged(tmp_path):
    written.tree(tmp_path)
    values = written.picture(tmp_path / "bad" / "a.png", size=(6, 6))
    data = folder.load("site", path=tmp_path, size=6)
    assert_close(data.images[0], torch.from_numpy(values).permute(2, 0, 1) / 255, atol=1e-6, rtol=0)


def test_resizes_as_pillow_does(tmp_path):
    written.tree(tmp_path)
    values = written.picture(tmp_path / "bad" / "a.png", size=(90, 70))
    expected = np.asarray(Image.fromarray(values).resize((16, 16), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    data = folder.load("site", path=tmp_path, size=16)
    assert_close(data.images[0], torch.from_numpy(expected).permute(2, 0, 1), atol=1.5 / 255, rtol=0)


def test_grey_only_if_every_file_is(tmp_path):
    written.tree(tmp_path, mode="L")
    assert folder.load("site", path=tmp_path).image_shape == (1, 32, 32)
    written.picture(tmp_path / "bad" / "z.png")
    data = folder.load("site", path=tmp_path)
    assert data.image_shape == (3, 32, 32)
    assert_close(data.images[0, 0], data.images[0, 2])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_is_scaled_by_its_range(tmp_path, suffix):
    written.tree(tmp_path, mode="L")
    values = written.picture(tmp_path / "bad" / f"a.{suffix}", "I;16", size=(8, 8)).astype(np.float32)
    image = folder.load("site", path=tmp_path, size=8).images[0, 0]
    assert_close(image, torch.from_numpy((values - values.min()) / np.ptp(values)), atol=1e-5, rtol=0)


def test_a_constant_deep_image_is_black(tmp_path):
    written.tree(tmp_path, mode="L")
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "bad" / "a.png")
    assert folder.load("site", path=tmp_path).images[0].eq(0).all()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_other_modes_are_read(tmp_path, mode):
    written.tree(tmp_path)
    values = written.picture(tmp_path / "x.png", "RGB")
    (tmp_path / "x.png").unlink()
    Image.fromarray(values).convert(mode).save(tmp_path / "bad" / ("a.tif" if mode == "CMYK" else "a.png"))
    assert folder.load("site", path=tmp_path).image_shape == (3, 32, 32)


def test_count_draws_by_seed(tmp_path):
    written.tree(tmp_path)
    draws = [folder.load("site", path=tmp_path, count=10, seed=seed) for seed in (0, 0, 1)]
    assert [len(draw.images) for draw in draws] == [10, 10, 10]
    assert torch.equal(draws[0].images, draws[1].images)
    assert not torch.equal(draws[0].images, draws[2].images)
    assert len(folder.load("site", path=tmp_path, count=1000).images) == 20


def test_no_file_name_enters_the_data_set(tmp_path):
    data = folder.load("site", path=written.tree(tmp_path))
    assert "patient_" not in repr(vars(data))


def test_hidden_files_are_ignored(tmp_path):
    written.tree(tmp_path)
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "bad" / ".DS_Store").write_text("x")
    (tmp_path / ".cache").mkdir()
    assert len(folder.load("site", path=tmp_path).images) == 20


@pytest.mark.parametrize(
    ("name", "content"), [("notes.txt", b"x"), ("cut.png", b"\x89PNG\r\n\x1a\n"), ("empty.jpg", b"")]
)
def test_names_the_file_that_is_no_image(tmp_path, name, content):
    written.tree(tmp_path)
    (tmp_path / "good" / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: expected an image"):
        folder.load("site", path=tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_names_a_truncated_image(tmp_path, suffix):
    written.tree(tmp_path)
    file = tmp_path / "good" / f"short.{suffix}"
    written.picture(file, size=(64, 64))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"short\.{suffix}: expected an image"):
        folder.load("site", path=tmp_path)


def test_refuses_other_layouts(tmp_path):
    def refuses(sentence):
        with pytest.raises(DataError, match=sentence):
            folder.load("site", path=tmp_path)

    refuses("expected one sub-folder per class, found none")
    (tmp_path / "test" / "bad").mkdir(parents=True)
    refuses("expected a folder train beside test")
    written.tree(tmp_path / "train")
    refuses("test/bad: expected at least one image of this class")
    written.tree(tmp_path / "test", classes=("bad", "ugly"))
    refuses(r"test/ugly: expected one of the classes of train \(bad, good\)")
    written.picture(tmp_path / "train" / "loose.png")
    refuses(r"loose\.png: expected this image in the sub-folder of its class")
    (tmp_path / "train" / "loose.png").unlink()
    written.tree(tmp_path / "extra")
    refuses("expected an image, got a folder")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"path": None}, "expected the path"),
        ({"size": 0}, "positive size and count"),
        ({"count": 0}, "positive size and count"),
        ({"count": 2}, "at least one image in each split, got 2 for train"),
    ],
)
def test_refuses_impossible_requests(tmp_path, options, sentence):
    with pytest.raises(DataError, match=sentence):
        folder.load("site", **{"path": written.tree(tmp_path), **options})


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("brain_mri", (1, 32, 32), 4), ("pbc_blood", (3, 32, 32), 8), ("retina_dr", (3, 32, 32), 2)],
)
def test_real_folders(shared, name, shape, classes):
    data = load_data(str(shared / "data" / name), count=40)
    assert (data.name, data.image_shape, len(data.classes), len(data.images)) == (name, shape, classes, 40)
