"""Defences that are a recipe: the defended client is the undefended one by that recipe, and nothing else."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from leakward.defenses import FrozenLayers, GaussianNoise, LargerBatches, MoreLocalSteps
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining, NoDefense, agreed_recipe, client_update, run_round
from leakward.tape import Tape
from leakward.types import Batch, generator

GRADIENT = LocalTraining(minibatch=2, learning_rate=0.05, momentum=0.5, shuffle=True, optimizer="sgd")
WRITTEN = [
    (LargerBatches(batch_images=4), replace(GRADIENT, batch_images=4)),
    (MoreLocalSteps(epochs=3), replace(GRADIENT, share="update", epochs=3)),
    (
        MoreLocalSteps(epochs=2, minibatch=0, learning_rate=0.2),
        replace(GRADIENT, share="update", epochs=2, minibatch=0, learning_rate=0.2),
    ),
    (
        Chain((LargerBatches(batch_images=4), MoreLocalSteps(epochs=1))),
        replace(GRADIENT, batch_images=4, share="update", epochs=1),
    ),
]


@pytest.mark.parametrize(("defense", "written"), WRITTEN)
def test_the_client_is_that_of_a_plan_with_this_recipe(defense, written, lenet):
    agreed = agreed_recipe(GRADIENT, defense)
    assert agreed == written
    size = written.batch_images
    given = lenet.task, lenet.state, lenet.images[:size], lenet.labels[:size]
    defended = client_update(*given, agreed, defense, Tape(generator(3)))
    plain = client_update(*given, written, NoDefense(), Tape(generator(3)))
    assert (defended.share, defended.images) == (plain.share, plain.images)
    assert_close(defended.tensors, plain.tensors, rtol=0, atol=0)


def test_noise_after_it_is_noise_by_this_recipe(lenet):
    noise, local = GaussianNoise(std=0.1), MoreLocalSteps(epochs=2)
    both = Chain((local, noise))
    agreed = agreed_recipe(GRADIENT, both)
    sent, alone = (client_update(*lenet, agreed, defense, Tape(generator(3))).tensors for defense in (both, noise))
    assert_close(sent, alone, rtol=0, atol=0)


def test_larger_batches_never_make_smaller_ones():
    assert agreed_recipe(LocalTraining(batch_images=16), LargerBatches(batch_images=8)).batch_images == 16


def test_a_client_with_fewer_images_is_refused(lenet):
    defense = LargerBatches(batch_images=5)
    with pytest.raises(DefenseError, match="expected at least 5 images for a round, got 4"):
        run_round(
            lenet.task,
            lenet.state,
            Batch(lenet.images, lenet.labels),
            agreed_recipe(GRADIENT, defense),
            defense,
            generator(0),
        )


FEWER = [
    (LocalTraining(batch_images=4), MoreLocalSteps(epochs=1), 1, 1),
    (LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2), MoreLocalSteps(epochs=1), 4, 2),
    (LocalTraining(share="update", epochs=4), MoreLocalSteps(epochs=4, learning_rate=0.5), 4, 4),
]


@pytest.mark.parametrize(("recipe", "defense", "before", "after"), FEWER)
def test_no_more_steps_than_before_is_refused(recipe, defense, before, after):
    with pytest.raises(DefenseError, match=f"expected more local steps than the {before} of the recipe, got {after}; "):
        agreed_recipe(recipe, defense)


def test_images_come_before_the_steps_on_them():
    """One pass in halves has two steps on two images, and one on one."""
    images, steps = LargerBatches(batch_images=2), MoreLocalSteps(epochs=1, minibatch=1)
    assert agreed_recipe(LocalTraining(), Chain((images, steps))).step_sizes(2) == (1, 1)
    with pytest.raises(DefenseError, match="let larger-batches come first"):
        agreed_recipe(LocalTraining(), Chain((steps, images)))


@pytest.mark.parametrize("first", [True, False])
def test_what_another_part_cannot_have_is_refused_in_any_order(first):
    """Weight decay moves frozen weights as soon as there are local steps."""
    parts = [FrozenLayers(first=1), MoreLocalSteps()]
    with pytest.raises(DefenseError, match="FrozenLayers: expected no weight decay"):
        agreed_recipe(LocalTraining(weight_decay=0.1), Chain(tuple(parts if first else parts[::-1])))


def test_two_that_ask_for_different_steps_are_refused():
    with pytest.raises(DefenseError, match="MoreLocalSteps: expected more local steps than the 6 of the recipe, got 3"):
        agreed_recipe(LocalTraining(), Chain((MoreLocalSteps(epochs=3), MoreLocalSteps(epochs=6))))


def test_local_steps_of_a_small_rate_are_so_many_gradients(lenet):
    """To first order in the rate, E passes over all images move the weights by a E times the gradient."""
    rate, epochs = 1e-4, 6
    given = lenet.task, {n: v.double() for n, v in lenet.state.items()}, lenet.images.double(), lenet.labels
    defense = MoreLocalSteps(epochs=epochs, minibatch=0, learning_rate=rate)
    moved = client_update(*given, agreed_recipe(LocalTraining(batch_images=4), defense), defense, Tape()).tensors
    gradient = client_update(*given, LocalTraining(batch_images=4), NoDefense(), Tape()).tensors
    for name, value in gradient.items():
        gap = torch.linalg.vector_norm(moved[name] / (rate * epochs) - value) / torch.linalg.vector_norm(value)
        assert 0 < gap < 0.01
