"""MedMNIST files: what is read, where it is looked for, and every way in which a file is refused."""

import numpy as np
import pooch
import pytest
import torch
import written
from torch.testing import assert_close

from leakward.data import load_data, medmnist
from leakward.errors import DataError


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("LEAKWARD_DATA", raising=False)


def test_images_labels_and_splits_are_those_of_the_file(tmp_path):
    arrays = written.arrays()
    data = medmnist.load("mine", path=written.npz(tmp_path / "mine.npz"))
    for split, n in written.SIZES.items():
        images, labels = data.subset(split)
        assert_close(images, torch.from_numpy(arrays[f"{split}_images"]).permute(0, 3, 1, 2) / 255)
        assert labels.tolist() == [i % 3 for i in range(n)]
    assert (data.name, data.classes, data.image_shape) == ("mine", ("0", "1", "2"), (3, 8, 8))
    assert data.mean == data.std == (0.5, 0.5, 0.5)


def test_grey_images_and_flat_labels(tmp_path):
    arrays = written.arrays(shape=(8, 8))
    arrays |= {key: value.ravel() for key, value in arrays.items() if key.endswith("labels")}
    data = medmnist.load("grey", path=written.npz(tmp_path / "grey.npz", **arrays))
    assert (data.image_shape, data.mean) == ((1, 8, 8), (0.5,))


def test_official_names_bring_classes_licence_and_citation(tmp_path):
    data = medmnist.load("bloodmnist", path=written.npz(tmp_path / "x.npz"))
    assert len(data.classes) == 8
    assert data.licence == "CC BY 4.0"
    assert "Acevedo" in data.citation


@pytest.mark.parametrize("place", ["retinamnist.npz", "sub/retinamnist.npz", "sub/retinamnist_rebuilt.npz"])
def test_found_in_the_folder_that_the_environment_names(tmp_path, monkeypatch, place):
    written.npz(tmp_path / place)
    monkeypatch.setenv("LEAKWARD_DATA", str(tmp_path))
    data = medmnist.load("retinamnist")
    assert data.name == "retinamnist"
    assert ("rebuilt" in data.citation) == ("rebuilt" in place)


def test_downloads_the_official_file_with_its_checksum(tmp_path, monkeypatch):
    file = written.npz(tmp_path / "x.npz")
    asked = {}
    monkeypatch.setattr(pooch, "retrieve", lambda url, **options: asked.update(options, url=url) or str(file))
    assert len(medmnist.load("bloodmnist").images) == 17
    assert asked["url"] == "https://zenodo.org/records/10519652/files/bloodmnist.npz?download=1"
    assert asked["known_hash"] == "md5:7053d0359d879ad8a5505303e11de1dc"


@pytest.mark.parametrize("error", [OSError("no network"), ValueError("hash does not match")])
def test_a_failed_download_says_what_to_set(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(DataError, match="set LEAKWARD_DATA to a folder that holds the file") as caught:
        medmnist.load("bloodmnist")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"val_labels": None}, "val_labels is missing"),
        ({"train_images": np.zeros((10, 8, 8, 3))}, "expected train images as uint8 .* got float64"),
        ({"train_images": np.zeros((10, 8, 8, 8), np.uint8)}, "with c 1 or 3"),
        ({"test_images": np.zeros((4, 9, 9, 3), np.uint8)}, "one image shape in all splits"),
        ({"test_images": np.zeros((0, 8, 8, 3), np.uint8)}, "none empty"),
        ({"train_labels": np.zeros((9, 1), np.uint8)}, "10 integers, one per image"),
        ({"train_labels": np.zeros((10, 2), np.uint8)}, "one class per image"),
        ({"train_labels": np.full((10, 1), 0.5)}, "got float64"),
        ({"train_labels": np.full((10, 1), -1)}, "expected labels 0 to"),
        ({"train_labels": np.full((10, 1), 10**9)}, "expected labels 0 to"),
        ({"train_labels": np.full((10, 1), None)}, "pickled"),
    ],
)
def test_refuses_wrong_contents_and_names_the_file(tmp_path, changes, sentence):
    file = written.npz(tmp_path / "wrong.npz", **changes)
    with pytest.raises(DataError, match=sentence) as caught:
        medmnist.load("wrong", path=file)
    assert str(caught.value).startswith(str(file))


def test_refuses_labels_outside_the_official_classes(tmp_path):
    file = written.npz(tmp_path / "x.npz", train_labels=np.full((10, 1), 2, np.uint8))
    with pytest.raises(DataError, match="expected labels 0 to 1, got 0 to 2"):
        medmnist.load("pneumoniamnist", path=file)


@pytest.mark.parametrize("keep", [0, 10, 400, -30])
def test_refuses_a_truncated_file(tmp_path, keep):
    file = written.npz(tmp_path / "short.npz")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"short\.npz: expected a readable"):
        medmnist.load("short", path=file)


def test_refuses_a_damaged_member(tmp_path):
    file = tmp_path / "bad.npz"
    np.savez_compressed(file, **written.arrays())
    data = bytearray(file.read_bytes())
    data[200:260] = bytes(60)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.npz: expected a readable"):
        medmnist.load("bad", path=file)


def test_refuses_a_single_array(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        medmnist.load("one", path=tmp_path / "one.npy")


@pytest.mark.parametrize(
    ("options", "sentence"), [({"size": 16}, "expected the size of its images, 8×8"), ({"count": 5}, "no count")]
)
def test_refuses_another_size_or_fewer_images(tmp_path, options, sentence):
    file = written.npz(tmp_path / "x.npz")
    assert medmnist.load("x", path=file, size=8).image_shape == (3, 8, 8)
    with pytest.raises(DataError, match=sentence):
        medmnist.load("x", path=file, **options)


def test_refuses_places_that_do_not_exist(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="there is none; check the path"):
        medmnist.load("bloodmnist", path=tmp_path / "no.npz")
    with pytest.raises(DataError, match=r"expected bloodmnist\.npz in this folder"):
        medmnist.load("bloodmnist", path=tmp_path)
    with pytest.raises(DataError, match="can be downloaded"):
        medmnist.load("other")
    monkeypatch.setenv("LEAKWARD_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match="LEAKWARD_DATA: expected a folder"):
        medmnist.load("bloodmnist")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("pneumoniamnist", (4708, 524, 624)), ("retinamnist", (1080, 120, 400)), ("bloodmnist", (11959, 1712, 3421))],
)
def test_real_files(shared, monkeypatch, name, sizes):
    monkeypatch.setenv("LEAKWARD_DATA", str(shared / "data"))
    data = load_data(name)
    assert tuple(len(data.splits[split]) for split in ("train", "val", "test")) == sizes
    assert len(data.labels.unique()) == len(data.classes)
