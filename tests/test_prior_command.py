"""``leakward prior train``: what it says, what it writes, and how it ends."""

import numpy as np
import pytest

from leakward.generators import load_prior


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with data of 12 pixels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 20), ("val", 9), ("test", 5)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 12, 12), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    np.savez("data.npz", **arrays)
    return tmp_path


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


TRAIN = ("prior", "train", "--data", "data.npz", "--out", "prior.safetensors")


def test_a_prior_is_trained_on_the_public_split_alone(here, leakward, monkeypatch):
    given = []

    def watched(images, *arguments):
        given.append(images)
        return train(images, *arguments)

    from leakward import generators

    train = generators.train_prior
    monkeypatch.setattr(generators, "train_prior", watched)
    code, out, _ = leakward(*TRAIN, "--iterations", "3", "--seed", "4")
    assert code == 0
    with np.load(here / "data.npz") as arrays:
        assert np.array_equal((given[0][:, 0] * 255).round().numpy(), arrays["val_images"])
    card = load_prior(here / "prior.safetensors", (1, 12, 12)).card
    assert (card.images, card.source.data, card.source.split, card.source.seed) == (9, "data", "val", 4)
    assert card.source.licence == "as stated by the owner of the file"
    assert card.settings.iterations == 3
    assert "9 public images of data (split val; audits attack images of the split train)" in out
    assert f"{card.quality.held_out_psnr:.1f} dB" in out
    assert listing(here) == ["data.npz", "prior.safetensors"]


def test_equal_seeds_write_equal_files(here, leakward):
    files = []
    for seed in (1, 1, 2):
        assert leakward(*TRAIN, "--iterations", "3", "--seed", seed)[0] == 0
        files.append((here / "prior.safetensors").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


WRONG = [
    (("--data", "none.npz", "--out", "p"), "data 'none.npz': expected one of"),
    (("--data", "data.npz", "--out", "p", "--iterations", "0"), "iterations=0: expected a whole number of at least 1"),
    (("--data", "data.npz", "--out", "p", "--size", "20"), "size"),
    (("--data", "data.npz", "--out", "none/p"), "--out none/p: expected a file in a folder that exists"),
    (("--data", "data.npz", "--out", "folder"), "--out folder: expected a file in a folder that exists"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value))
def test_errors_are_one_sentence_and_nothing_is_written(here, leakward, arguments, words):
    (here / "folder").mkdir()
    before = listing(here)
    code, out, err = leakward("prior", "train", *arguments)
    assert code == 1
    assert err.startswith("error: ")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert listing(here) == before


@pytest.mark.parametrize("arguments", [(), ("train",), ("train", "--data", "data.npz"), ("teach",)], ids=" ".join)
def test_usage_errors_end_with_2(here, leakward, arguments):
    code, out, err = leakward("prior", *arguments)
    assert code == 2
    assert "Usage" in out + err
    assert listing(here) == ["data.npz"]


def test_ctrl_c_leaves_an_older_prior_as_it_was(here, leakward, monkeypatch):
    assert leakward(*TRAIN, "--iterations", "1")[0] == 0
    before = (here / "prior.safetensors").read_bytes()

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("leakward.generators.train_prior", interrupt)
    code, _, err = leakward(*TRAIN)
    assert code == 130
    assert "stopped; nothing was written" in err
    assert (here / "prior.safetensors").read_bytes() == before
    assert listing(here) == ["data.npz", "prior.safetensors"]
