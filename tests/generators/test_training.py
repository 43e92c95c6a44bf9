"""Training a prior: what it learns, and that equal seeds learn the same."""

import pytest
import torch

from leakward.errors import DataError, ModelError, PlanError
from leakward.generators import PriorSettings, cache, train_prior, trained_prior
from leakward.types import generator

QUICK = PriorSettings(iterations=3, batch_images=4, latent=4, channels=2)


def test_it_learns_what_the_images_have_in_common(spots):
    settings = PriorSettings(iterations=250, batch_images=16, latent=8, channels=8)
    prior = train_prior(spots(200), settings, generator(0))
    quality = prior.card.quality
    assert quality.held_out_psnr > quality.mean_image_psnr + 6
    assert 0.6 < quality.spread < 1.4
    samples = prior.generator.forward(prior.state, torch.randn(50, 8, generator=generator(1)))
    mass = samples.sum((1, 2, 3)) / spots(200).sum((1, 2, 3)).mean()
    assert (mass - 1).abs().median() < 0.4


def test_quality_is_measured_on_images_that_training_did_not_see():
    """Ten images that differ in all they have: what is learnt of nine says nothing of the tenth."""
    images = (torch.rand(10, 1, 8, 8, generator=generator(0)) > 0.5).float()
    settings = PriorSettings(iterations=200, batch_images=9, latent=16, channels=8)
    quality = train_prior(images, settings, generator(0)).card.quality
    assert quality.held_out_psnr < quality.mean_image_psnr + 1


def test_equal_seeds_train_equal_priors_and_leave_everything_else_alone(spots):
    images = spots(12)
    before, seed = images.clone(), torch.get_rng_state()
    first, again, other = (train_prior(images, QUICK, generator(number)) for number in (0, 0, 1))
    assert first.card == again.card
    assert all(torch.equal(first.state[name], again.state[name]) for name in first.state)
    assert any(not torch.equal(first.state[name], other.state[name]) for name in first.state)
    assert not any(value.requires_grad for value in first.state.values())
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), seed)


def test_progress_ends_at_one(spots):
    fractions = []
    train_prior(spots(4), QUICK, generator(0), fractions.append)
    assert fractions == pytest.approx([1 / 3, 2 / 3, 1])


def test_what_cannot_be_trained_is_refused(spots):
    with pytest.raises(DataError, match="expected at least 2 public images, got 1; give more"):
        train_prior(spots(1), QUICK, generator(0))
    wild = PriorSettings(iterations=20, batch_images=4, learning_rate=1e30, latent=4, channels=2)
    with pytest.raises(ModelError, match=r"expected training to converge, but it did not at learning_rate=1e\+30"):
        train_prior(spots(4), wild, generator(0))
    with pytest.raises(PlanError, match=r"iterations=0: expected a whole number.*; latent=-1: .*; learning_rate=nan"):
        PriorSettings(iterations=0, latent=-1, learning_rate=float("nan"))


def test_the_same_images_and_settings_are_trained_once(spots, monkeypatch):
    calls = []

    def counted(images, *arguments):
        calls.append(len(images))
        return train_prior(images, *arguments)

    monkeypatch.setattr(cache, "train_prior", counted)
    monkeypatch.setattr(cache, "_kept", {})
    first = trained_prior(spots(5), QUICK)
    assert trained_prior(spots(5).clone(), QUICK) is first
    assert calls == [5]
    trained_prior(spots(5).transpose(2, 3), QUICK)
    trained_prior(spots(5), PriorSettings(iterations=4, batch_images=4, latent=4, channels=2))
    assert calls == [5, 5, 5]
    for seed in range(cache.MOST):
        trained_prior(spots(4, seed), QUICK)
    assert trained_prior(spots(5), QUICK) is not first
