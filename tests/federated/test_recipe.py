"""Recipes are checked when they are made, and say which images every local step sees."""

import pytest
import torch

from leakward.errors import PlanError
from leakward.federated import LocalTraining
from leakward.tape import Draw, Tape
from leakward.types import generator

WRONG = [
    ("batch_images", 0, "a whole number of at least 1"),
    ("epochs", 0, "a whole number of at least 1"),
    ("minibatch", -1, "a whole number of at least 0"),
    ("learning_rate", 0.0, "a finite number above 0"),
    ("learning_rate", float("nan"), "a finite number above 0"),
    ("learning_rate", float("inf"), "a finite number above 0"),
    ("momentum", 1.0, "a number in [0, 1)"),
    ("momentum", -0.1, "a number in [0, 1)"),
    ("weight_decay", -1e-3, "a finite number of at least 0"),
    ("weight_decay", float("inf"), "a finite number of at least 0"),
    ("share", "weights", "one of gradient, update"),
    ("optimizer", "adamw", "one of sgd, adam"),
    ("mode", "training", "one of eval, train"),
]


def check(**wrong):
    """Check a recipe with wrong fields as a user meets it, without the type checker of the test run."""
    recipe = LocalTraining()
    for name, value in wrong.items():
        object.__setattr__(recipe, name, value)
    recipe.__post_init__()


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_a_wrong_value_is_named_with_what_is_allowed(name, value, expected):
    with pytest.raises(PlanError) as error:
        check(**{name: value})
    assert str(error.value) == f"LocalTraining: {name}={value!r}: expected {expected}"


def test_a_recipe_is_checked_when_it_is_made():
    with pytest.raises(PlanError, match="epochs=0: expected a whole number of at least 1"):
        LocalTraining(epochs=0)


def test_all_problems_come_together():
    with pytest.raises(PlanError) as error:
        check(epochs=0, momentum=2.0, mode="training")
    sentence = str(error.value)
    assert all(f"{name}=" in sentence for name in ("epochs", "momentum", "mode"))
    assert "minibatch" not in sentence


@pytest.mark.parametrize(
    ("epochs", "minibatch", "expected"),
    [
        (1, 0, [[0, 1, 2, 3, 4]]),
        (2, 5, [[0, 1, 2, 3, 4]] * 2),
        (1, 9, [[0, 1, 2, 3, 4]]),
        (2, 2, [[0, 1], [2, 3], [4]] * 2),
        (1, 1, [[0], [1], [2], [3], [4]]),
    ],
)
def test_local_steps_take_the_images_in_order(epochs, minibatch, expected):
    tape = Tape(generator(0))
    steps = steps_of(LocalTraining(share="update", batch_images=5, epochs=epochs, minibatch=minibatch), tape)
    assert steps == expected
    assert tape.draws == []


def steps_of(recipe, tape):
    """Return the numbers of the images of every local step."""
    labels = torch.arange(recipe.batch_images)
    images = labels[:, None, None, None] / 10
    steps = list(recipe.minibatches(images, labels, tape))
    assert all(torch.equal(step[0].flatten(), step[1] / 10) for step in steps)
    return [step[1].tolist() for step in steps]


def test_shuffled_epochs_take_every_image_once_in_an_order_of_their_own():
    recipe = LocalTraining(share="update", batch_images=7, epochs=3, minibatch=3, shuffle=True)
    tape = Tape(generator(0))
    steps = steps_of(recipe, tape)
    assert [len(step) for step in steps] == [3, 3, 1] * 3
    orders = [[image for step in steps[first : first + 3] for image in step] for first in (0, 3, 6)]
    assert all(sorted(order) == [*range(7)] for order in orders)
    assert len({tuple(order) for order in [*orders, range(7)]}) == 4
    assert tape.draws == [Draw("uniform", (7,))] * 3
    assert orders == [value.argsort().tolist() for value in tape.values]
    assert steps_of(recipe, Tape(values=tape.values)) == steps
