"""Recipes are checked when they are made, and say which images every local step sees."""

import pytest
import torch

from leakward.errors import PlanError
from leakward.federated import LocalTraining

WRONG = [
    ("batch_images", 0, "at least 1"),
    ("epochs", 0, "at least 1"),
    ("minibatch", -1, "at least 0"),
    ("learning_rate", 0.0, "a positive number"),
    ("learning_rate", float("nan"), "a positive number"),
    ("learning_rate", float("inf"), "a positive number"),
    ("momentum", 1.0, "a number in [0, 1)"),
    ("momentum", -0.1, "a number in [0, 1)"),
    ("weight_decay", -1e-3, "at least 0"),
    ("weight_decay", float("inf"), "at least 0"),
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
    with pytest.raises(PlanError, match="epochs=0: expected at least 1"):
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
    recipe = LocalTraining(share="update", batch_images=5, epochs=epochs, minibatch=minibatch)
    labels = torch.arange(5)
    images = labels[:, None, None, None] / 10
    steps = list(recipe.minibatches(images, labels))
    assert [step[1].tolist() for step in steps] == expected
    assert all(torch.equal(step[0].flatten(), step[1] / 10) for step in steps)
