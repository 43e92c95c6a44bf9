"""CIFAR-10: the official batches as Python 2 wrote them, an ``.npz``, and pickles that must not be trusted."""

import os
import pickle

import pytest
import torch
import written
from torch.testing import assert_close

from leakward.data import cifar10
from leakward.errors import DataError


@pytest.fixture
def batches(tmp_path):
    folder = tmp_path / "in" / "cifar-10-batches-py"
    return folder, written.cifar_batches(folder)


def test_reads_the_official_batches(batches):
    folder, pixels = batches
    data = cifar10.load("cifar10", path=folder)
    images, labels = data.subset("test")
    assert_close(images, torch.from_numpy(pixels["test_batch"]).reshape(-1, 3, 32, 32) / 255)
    assert labels.tolist() == [0, 1, 2, 3]
    assert {split: len(index) for split, index in data.splits.items()} == {"train": 18, "val": 2, "test": 4}
    assert data.std == (0.2470, 0.2435, 0.2616)


def test_val_is_drawn_from_train_by_seed(batches):
    folder, _ = batches
    val = [cifar10.load(path=folder, seed=seed).splits["val"].tolist() for seed in (0, 0, 1)]
    assert val[0] == val[1] != val[2]
    assert max(val[0]) < 20


@pytest.mark.parametrize("where", ["", "in"])
def test_found_in_the_folder_that_the_environment_names(batches, monkeypatch, tmp_path, where):
    monkeypatch.setenv("LEAKWARD_DATA", str(tmp_path / where))
    assert len(cifar10.load().images) == 24


def test_reads_an_npz(tmp_path, monkeypatch):
    arrays = written.arrays(shape=(32, 32, 3), classes=10)
    written.npz(tmp_path / "sub" / "cifar10_part.npz", **arrays)
    monkeypatch.setenv("LEAKWARD_DATA", str(tmp_path))
    data = cifar10.load("cifar10", size=32)
    assert {split: len(index) for split, index in data.splits.items()} == written.SIZES


def test_carves_val_for_an_npz_without_it(tmp_path):
    file = written.npz(tmp_path / "x.npz", val_images=None, val_labels=None)
    data = cifar10.load(path=file)
    assert {split: len(index) for split, index in data.splits.items()} == {"train": 9, "val": 1, "test": 4}


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_runs_nothing_that_a_pickle_asks_for(batches, tmp_path, protocol):
    folder, _ = batches
    mark = tmp_path / "was_run"
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": Evil(mark)}, protocol=protocol))
    with pytest.raises(DataError, match=r"data_batch_3: expected nothing but arrays, got .*mkdir; do not trust"):
        cifar10.load(path=folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "data_batch_1: expected a batch of CIFAR-10, got EOFError"),
        (b"no pickle", "data_batch_1: expected a batch of CIFAR-10"),
        (pickle.dumps([1], protocol=2), "expected 'data'"),
        (pickle.dumps({}, protocol=2), "expected 'data'"),
    ],
)
def test_refuses_broken_batches(batches, content, sentence):
    folder, _ = batches
    (folder / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        cifar10.load(path=folder)


def test_refuses_a_truncated_and_a_missing_batch(batches):
    folder, _ = batches
    file = folder / "test_batch"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="test_batch: expected a batch"):
        cifar10.load(path=folder)
    file.unlink()
    with pytest.raises(DataError, match=r"test_batch: .* it is missing"):
        cifar10.load(path=folder)


def test_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("LEAKWARD_DATA", raising=False)
    with pytest.raises(DataError, match="set LEAKWARD_DATA to the folder that holds cifar-10-batches-py"):
        cifar10.load()
    with pytest.raises(DataError, match="found none"):
        cifar10.load(path=tmp_path)


def test_refuses_grey_images_and_an_eleventh_class(tmp_path):
    with pytest.raises(DataError, match="expected RGB"):
        cifar10.load(path=written.npz(tmp_path / "x.npz", **written.arrays(shape=(8, 8))))
    many = written.arrays({"train": 11, "val": 1, "test": 1}, classes=11)
    with pytest.raises(DataError, match="expected labels 0 to 9, got 0 to 10"):
        cifar10.load(path=written.npz(tmp_path / "y.npz", **many))


def test_real_file(shared, monkeypatch):
    monkeypatch.setenv("LEAKWARD_DATA", str(shared / "data"))
    data = cifar10.load("cifar10")
    assert data.images.shape == (4000, 3, 32, 32)
    assert_close(data.images.mean((0, 2, 3)), torch.tensor(data.mean), atol=0.01, rtol=0)
