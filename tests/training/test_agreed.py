"""What the clients of a federation do in a round follows the recipe that was agreed for the defence."""

from dataclasses import replace

import pytest
import torch
from tiny_job import RECIPE, job, run
from torch.testing import assert_close

from leakward.defenses import LargerBatches, Mixup, MoreLocalSteps
from leakward.errors import DefenseError
from leakward.federated import Chain
from leakward.training.client import Client

IN_ORDER = replace(RECIPE, shuffle=False)


def test_a_round_has_at_least_as_many_images_as_the_defence_asks_for(data):
    few, more = (Client(job(data, clients=2, images=5, defense=d), 0) for d in (None, LargerBatches(batch_images=9)))
    assert (len(few.batch(1)), len(more.batch(1)), more.recipe.batch_images) == (5, 9, 9)
    assert torch.equal(more.batch(1).images[:5], few.batch(1).images), "the same images, and others beside them"
    everything = Client(job(data, clients=2, defense=LargerBatches(batch_images=9)), 0)
    assert len(everything.batch(1)) == everything.recipe.batch_images == 24


def test_a_federation_with_local_steps_is_that_of_a_plan_with_this_recipe(data):
    defended = job(data, clients=2, recipe=IN_ORDER, defense=MoreLocalSteps(epochs=2, minibatch=4))
    written = job(data, clients=2, recipe=replace(IN_ORDER, epochs=2, minibatch=4))
    [found], [expected] = run(defended), run(written)
    assert_close(found.state, expected.state, rtol=0, atol=0)


def test_each_client_can_have_minibatches_of_its_own(data):
    own = job(data, clients=2, recipe=IN_ORDER, minibatches=(4, 12))
    assert [Client(own, number).recipe.minibatch for number in (0, 1)] == [4, 12]
    alike, written = (job(data, clients=2, recipe=replace(IN_ORDER, minibatch=m), minibatches=n)
                      for m, n in ((7, (4, 4)), (4, None)))  # fmt: skip
    [found], [expected], [other] = run(alike), run(written), run(own)
    assert_close(found.state, expected.state, rtol=0, atol=0)
    assert any((found.state[name] != value).any() for name, value in other.state.items())


WRONG = [
    (LargerBatches(batch_images=25), {}, "recipe: expected at least 25 images for a round, got 24"),
    (Chain((Mixup(),)), {"images": 9}, "Mixup: expected at least 2 images in every local step, got 1"),
    (MoreLocalSteps(epochs=1, learning_rate=0.5), {}, "expected more local steps than the 3 of the recipe, got 3"),
]


@pytest.mark.parametrize(("defense", "federation", "words"), WRONG)
def test_a_client_that_cannot_do_it_is_refused(defense, federation, words, data):
    with pytest.raises(DefenseError, match=words):
        job(data, clients=2, defense=defense, **federation).recipe_of(0, 24)
