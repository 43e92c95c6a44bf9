"""Poisson sampling draws every image by itself, and epsilon is stated only where it covers all that is sent."""

from dataclasses import dataclass, replace

import pytest
import tiny_networks as tiny
import torch
from torch.testing import assert_close

from leakward.errors import DefenseError
from leakward.federated import (
    Defense,
    Guarantee,
    LocalTraining,
    NoDefense,
    agreed_recipe,
    client_round,
    draw_sample,
    poisson_sample,
    proven,
)
from leakward.tape import Tape
from leakward.types import generator

RECIPE = LocalTraining("update", batch_images=12, epochs=2, minibatch=5, learning_rate=0.1)
IMAGES = 40


@dataclass(frozen=True)
class Asking(Defense):
    """Ask for Poisson sampling, and repeat what the guarantee is asked for."""

    poisson = True

    def guarantee(self, sampling_rate, rounds, delta, steps=1):
        return Guarantee(float(rounds), delta, f"{sampling_rate:g}, {steps}")


@pytest.fixture(scope="module")
def drawn():
    """1,500 rounds: whether each image is in each step (1500, 6 steps of 2 epochs, 40 images)."""
    rng, found = generator(0), torch.zeros(1500, 6, IMAGES)
    for member in found:
        for step, index in enumerate(poisson_sample(IMAGES, RECIPE, rng).steps):
            member[step, index] = 1
    return found


def test_the_numbers_of_a_round_are_the_expected_ones():
    sample = poisson_sample(IMAGES, RECIPE, generator(0))
    assert (len(sample.steps), sample.size, sample.images) == (2 * 3, 4.0, 12)
    single = poisson_sample(IMAGES, replace(RECIPE, share="gradient"), generator(0))
    assert (len(single.steps), single.size, single.images) == (1, 12.0, 12)


def test_every_image_is_in_every_step_with_the_same_probability(drawn):
    assert_close(drawn.mean(0), torch.full((6, IMAGES), 4 / IMAGES), rtol=0, atol=0.035)


def test_no_image_and_no_step_says_anything_of_another(drawn):
    """Of any two images of a step, and any two steps of an image, no correlation is left."""
    between_images = torch.corrcoef(drawn[:, 0].T).fill_diagonal_(0.0)
    assert float(between_images.abs().max()) < 0.12, "0.026 is the standard deviation of each of 780"
    assert float((drawn[:, 0].sum(1)).var()) == pytest.approx(IMAGES * 0.1 * 0.9, rel=0.1)
    between_steps = torch.corrcoef(drawn.transpose(1, 2).reshape(-1, 6).T).fill_diagonal_(0.0)
    assert float(between_steps.abs().max()) < 0.02, "0.004 is the standard deviation of each of 15"


def test_all_images_are_drawn_where_one_step_takes_all():
    sample = poisson_sample(12, replace(RECIPE, minibatch=0), generator(0))
    assert [step.tolist() for step in sample.steps] == 2 * [list(range(12))]


def test_equal_generators_draw_equally():
    one, other = (poisson_sample(IMAGES, RECIPE, generator(3)).steps for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_without_a_proof_nothing_is_sampled():
    task, _ = tiny.make(tiny.plain)
    rng = generator(0)
    assert draw_sample(task, RECIPE, NoDefense(), IMAGES, rng) is None
    assert torch.equal(rng.get_state(), generator(0).get_state())
    assert proven(task, RECIPE, NoDefense(), IMAGES, 10, 1e-5) is None


def test_what_is_proven_is_for_the_sampling_that_is_done():
    task, _ = tiny.make(tiny.plain)
    for recipe, exposure in ((RECIPE, "0.1, 6"), (replace(RECIPE, share="gradient"), "0.3, 1")):
        assert proven(task, recipe, Asking(), IMAGES, 10, 1e-5) == Guarantee(10.0, 1e-5, exposure)
        assert draw_sample(task, recipe, Asking(), IMAGES, generator(0)).images == 12
    assert proven(task, RECIPE, Asking(), 5, 10, 1e-5) == Guarantee(10.0, 1e-5, "1, 2"), "no more than there are"
    assert proven(task, RECIPE, Asking(), IMAGES, 0, 1e-5).epsilon == 0


def test_only_the_recipe_that_was_agreed_counts():
    class Longer(Asking):
        def on_recipe(self, recipe):
            return replace(recipe, epochs=5)

    task, _ = tiny.make(tiny.plain)
    agreed = agreed_recipe(RECIPE, Longer())
    assert proven(task, agreed, Longer(), IMAGES, 10, 1e-5).accountant == "0.1, 15"
    assert len(draw_sample(task, agreed, Longer(), IMAGES, generator(0)).steps) == 5 * 3
    with pytest.raises(DefenseError, match="expected a recipe with epochs = 5, got 2"):
        proven(task, RECIPE, Longer(), IMAGES, 10, 1e-5)
    with pytest.raises(DefenseError, match="expected a recipe with epochs = 5, got 2"):
        draw_sample(task, RECIPE, Longer(), IMAGES, generator(0))


@pytest.mark.parametrize("factory", [tiny.normalised, tiny.instance_normalised])
def test_where_statistics_leave_the_client_nothing_is_proven(factory):
    task, _ = tiny.make(factory)
    sent = replace(RECIPE, mode="train")
    assert proven(task, sent, Asking(), IMAGES, 10, 1e-5) is None
    assert draw_sample(task, sent, Asking(), IMAGES, generator(0)) is None
    assert proven(task, RECIPE, Asking(), IMAGES, 10, 1e-5) is not None


def test_without_per_image_gradients_an_empty_step_stands_still():
    task, state = tiny.make(tiny.plain)
    images, labels = tiny.draw_batch(6)
    sample = poisson_sample(6, replace(RECIPE, batch_images=6, minibatch=1), generator(1))
    assert any(len(step) == 0 for step in sample.steps)
    assert any(len(step) > 1 for step in sample.steps)
    sent = client_round(task, state, images, labels, RECIPE, Asking(), Tape(), sample=sample).update.tensors
    expected = state
    for step in sample.steps:
        if len(step):
            moved = client_round(task, expected, images[step], labels[step], LocalTraining(), NoDefense(), Tape())
            expected = expected | {name: expected[name] - 0.1 * g for name, g in moved.update.tensors.items()}
    assert_close(sent, {name: state[name] - expected[name] for name in sent}, rtol=1e-9, atol=1e-12)
