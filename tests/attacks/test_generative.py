"""Attacks with a generative prior: they find what lies in its range, and get nearer to what does not."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from leakward.attacks import GGL, GIAS, GIFD, Status
from leakward.attacks.ggl import normal_divergence
from leakward.attacks.reconstruction import NOT_APPLICABLE
from leakward.attacks.searching.generative import better
from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.replay import gather
from leakward.attacks.solvers import Solution, evaluate
from leakward.errors import ModelError
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.generators import PriorSettings, cache, save_prior, train_prior
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator


def spots(count, seed):
    """Images (n 1 12 12) of one bright spot each, somewhere."""
    place = 3 + 6 * torch.rand(count, 2, 1, 1, generator=generator(seed))
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    return torch.exp(-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / 8)[:, None]


@pytest.fixture(scope="module")
def prior():
    settings = PriorSettings(iterations=200, batch_images=16, latent=8, channels=6)
    return train_prior(spots(200, 0), settings, generator(0))


@pytest.fixture(scope="module")
def file(prior, tmp_path_factory):
    path = tmp_path_factory.mktemp("prior") / "spots.safetensors"
    save_prior(prior, path)
    return str(path)


def rounds(images, public=None, recipe=None):
    """Observe one round on each group of images (v b c h w)."""
    task = build_task(TaskSpec("lenet", tuple(images.shape[2:]), 4, {"channels": 4}))
    state, recipe = initial_state(task, generator(1)), recipe or LocalTraining(batch_images=images.shape[1])
    threat, seen = ThreatModel(public=public is not None), []
    for number, group in enumerate(images):
        batch = Batch(group, (torch.arange(len(group)) + number) % 4)
        seen.append(observe(run_round(task, state, batch, recipe, NoDefense(), generator(2)), threat, public))
    return seen


def psnr(found, images):
    stacked = torch.stack([one.images for one in found])
    return float(-10 * (stacked - images).square().mean().log10())


def distance_of(images, observed):
    """The matching distance of a guess."""
    victims = gather([observed], restarts=1, averaged=1)
    victim = {"labels": victims.tensors["labels"][0]}
    message = victims.replay.message(images, victim["labels"], victim, ())
    return float(cosine_distance(message, observed.update.tensors))


def negative_control(prior, images):
    """PSNR of the prior's mean image, which needs no message."""
    mean = prior.generator.forward(prior.state, torch.zeros(1, prior.generator.latent))
    return float(-10 * (mean - images).square().mean().log10())


@pytest.mark.parametrize("search", ["cma-es", "adam"])
def test_ggl_finds_what_the_generator_can_make(search, prior, file):
    truth = prior.generator.forward(prior.state, torch.randn(2, 8, generator=generator(3)))[:, None]
    steps = {"cma-es": 60, "adam": 80}[search]
    attack = GGL(file, search=search, iterations=steps, population=16, divergence=0.0)
    assert psnr(attack.recover(rounds(truth), generator(4)), truth) > 25


def test_weights_or_features_of_its_own_take_a_generator_to_an_image_it_cannot_make(prior, file):
    """Two spots, which no training image has."""
    truth = (spots(1, seed=9) + spots(1, seed=12)).clamp(0, 1)[None]
    observed = rounds(truth)
    codes, weights, features = (
        psnr(attack.recover(observed, generator(6)), truth)
        for attack in (
            GGL(file, search="adam", iterations=80, divergence=0.0),
            GIAS(file, iterations=40, learning_rate=0.1, weight_rate=5e-3),
            GIFD(file, iterations=30, learning_rate=0.1),
        )
    )
    assert codes > negative_control(prior, truth) + 1
    assert weights > codes + 3
    assert features > codes + 3


def test_feature_maps_stay_within_their_radius(file):
    """With none to speak of, only the search over codes is left."""
    observed = rounds(spots(1, seed=9)[None])
    tight, wide = (GIFD(file, iterations=15, radius=r).recover(observed, generator(7))[0] for r in (1e-7, 0.2))
    assert wide.objective < 0.8 * tight.objective
    assert (tight.evaluations, wide.evaluations) == (45, 45)


@pytest.mark.parametrize(("attack", "steps"), [(GGL, 30), (GIAS, 20), (GIFD, 15)])
def test_a_batch_is_recovered_together(attack, steps, file):
    truth = spots(2, seed=21)[None]
    observed = rounds(truth)
    guess = attack(file, iterations=steps).recover(observed, generator(8))[0]
    grey = torch.full((2, 1, 12, 12), 0.5)
    assert guess.images.shape == (2, 1, 12, 12)
    assert distance_of(guess.images, observed[0]) < 0.5 * distance_of(grey, observed[0])


def test_a_saved_prior_needs_no_public_images_and_no_prior_is_no_attack(file):
    observed = rounds(spots(1, seed=9)[None])
    for kind in (GGL, GIAS, GIFD):
        assert kind(iterations=1).recover(observed, generator(0)) == [NOT_APPLICABLE]
        assert kind(iterations=1, prior=file).recover(observed, generator(0))[0].status is Status.OK


def test_a_prior_of_other_images_or_none_is_an_error(file):
    observed = rounds(torch.rand(1, 1, 3, 8, 8))
    with pytest.raises(ModelError, match=r"expected one of images of shape \(3, 8, 8\), got one of \(1, 12, 12\)"):
        GIAS(prior=file).recover(observed, generator(0))
    with pytest.raises(ModelError, match="prior nowhere: expected a safetensors file"):
        GIAS(prior="nowhere").recover(observed, generator(0))


def test_attacks_on_the_same_public_images_train_one_prior(monkeypatch):
    calls, fractions = [], []

    def counted(images, settings, *arguments):
        calls.append((len(images), settings.iterations))
        return train_prior(images, settings, *arguments)

    monkeypatch.setattr(cache, "train_prior", counted)
    monkeypatch.setattr(cache, "_kept", {})
    public = Batch(spots(40, 0), torch.zeros(40, dtype=torch.long))
    observed = rounds(spots(1, seed=9)[None], public)
    for kind in (GGL, GIAS, GIFD):
        kind(iterations=1, passes=3).recover(observed, generator(0), fractions.append)
    assert calls == [(40, 6)]
    first = fractions[: fractions.index(1.0) + 1]
    assert first == sorted(first)
    assert 0.5 in first


def test_the_divergence_is_that_of_normal_distributions():
    codes = 0.5 + 2 * torch.randn(3, 8, generator=generator(0))
    expected = kl_divergence(Normal(codes.mean(1), codes.std(1, correction=0)), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(normal_divergence(codes), expected)


def test_the_better_of_two_solutions_is_taken_trial_by_trial():
    ok = (Status.OK, Status.OK)
    first = Solution({"images": torch.zeros(2, 1, 1, 2, 2)}, torch.tensor([1.0, 4.0]), {}, ok, (5, 5))
    second = Solution({"images": torch.ones(2, 1, 1, 2, 2)}, torch.tensor([2.0, 3.0]), {}, ok, (7, 7))
    found = better(first, second)
    assert found.best["images"].mean((1, 2, 3, 4)).tolist() == [0, 1]
    assert found.value.tolist() == [1, 3]
    assert found.evaluations == (12, 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GIAS, GIFD])
def test_a_traced_search_is_the_same(kind, file, monkeypatch):
    """Long searches are traced; generators with weights of their own must come through it."""
    observed = rounds(spots(2, seed=9)[:, None])
    plain = kind(iterations=2, prior=file).recover(observed, generator(0))
    monkeypatch.setattr(evaluate, "choose", lambda *_: "trace")
    traced = kind(iterations=2, prior=file).recover(observed, generator(0))
    for one, other in zip(plain, traced, strict=True):
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=1e-4)
