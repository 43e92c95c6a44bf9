"""The file of a prior: what is in it, and what is refused."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from leakward.errors import LeakwardError, ModelError
from leakward.generators import PriorSettings, Source, load_prior, prior, save_prior, train_prior
from leakward.types import generator

QUICK = PriorSettings(iterations=2, batch_images=4, latent=4, channels=2)
SOURCE = Source("spots", "val", "CC0-1.0", 3)


@pytest.fixture(scope="module")
def trained(spots):
    return train_prior(spots(6), QUICK, generator(3), source=SOURCE)


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "spots.safetensors"
    save_prior(trained, path)
    return path


def card_of(file):
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()[prior.CARD])


def test_a_prior_comes_back_as_it_was(trained, file):
    for shape in (None, (1, 12, 12)):
        again = load_prior(file, shape)
        assert again.card == trained.card
        assert again.generator == trained.generator
        assert again.state.keys() == trained.state.keys()
        assert all(torch.equal(again.state[name], value) for name, value in trained.state.items())


def test_the_card_says_where_it_comes_from(trained, file):
    card = card_of(file)
    assert card["source"] == {"data": "spots", "split": "val", "licence": "CC0-1.0", "seed": 3}
    assert (card["images"], card["shape"]) == (6, [1, 12, 12])
    assert card["settings"] == asdict(QUICK)
    assert card["quality"] == asdict(trained.card.quality)
    assert card["leakward"]


def test_a_prior_of_other_images_is_refused(file):
    with pytest.raises(ModelError, match=r"expected one of images of shape \(3, 8, 8\), got one of \(1, 12, 12\)"):
        load_prior(file, (3, 8, 8))


def rewritten(file, change_card=None, change_state=None):
    state, card = load_file(file), card_of(file)
    if change_card:
        change_card(card)
    if change_state:
        change_state(state)
    save_file(state, file, {prior.CARD: json.dumps(card)})


def test_a_missing_or_broken_file_is_refused(file, tmp_path):
    with pytest.raises(ModelError, match="expected a safetensors file"):
        load_prior(tmp_path / "none")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="expected a safetensors file"):
        load_prior(file)


@pytest.mark.parametrize("card", [None, "{", "[]"])
def test_a_file_without_a_card_is_refused(file, card):
    save_file(load_file(file), file, None if card is None else {prior.CARD: card})
    with pytest.raises(ModelError, match=r"expected .*; train it again with 'leakward prior train'"):
        load_prior(file)


BAD_CARDS = {
    "a missing key": (lambda card: card.pop("quality"), "expected a key 'quality', got none"),
    "an unknown key": (lambda card: card.update(more=1), "unknown key 'more'"),
    "another type": (lambda card: card.update(images="six"), "images"),
    "a setting out of range": (lambda card: card["settings"].update(latent=0), "latent=0: expected a whole number"),
    "another network": (lambda card: card["settings"].update(latent=5), "expected the finite weights"),
}


@pytest.mark.parametrize("change", BAD_CARDS)
def test_a_card_that_cannot_be_right_is_refused(file, change):
    change_card, words = BAD_CARDS[change]
    rewritten(file, change_card=change_card)
    with pytest.raises(ModelError, match=words):
        load_prior(file)


def test_weights_that_are_not_finite_are_refused(file):
    rewritten(file, change_state=lambda state: next(iter(state.values())).fill_(float("nan")))
    with pytest.raises(ModelError, match="expected the finite weights that its card describes"):
        load_prior(file)


def test_a_prior_is_written_whole_or_not_at_all(trained, file, monkeypatch, tmp_path):
    before = file.read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prior, "save_file", full)
    with pytest.raises(LeakwardError, match="expected a file that can be written, got: No space left on device"):
        save_prior(trained, file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    monkeypatch.undo()
    with pytest.raises(LeakwardError, match="No such file or directory; choose another"):
        save_prior(trained, tmp_path / "none" / "spots.safetensors")
