"""The recipe of a defence is made once, and nobody trains by another."""

from dataclasses import dataclass, replace

import pytest
import tiny_networks as tiny
import torch

from leakward.errors import DefenseError
from leakward.federated import Chain, Defense, LocalTraining, NoDefense, agreed_recipe, client_update, run_round
from leakward.federated.agreement import require_images, require_step_images
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator


@dataclass(frozen=True)
class Rate(Defense):
    """Ask for a learning rate, of those who train locally."""

    rate: float

    def on_recipe(self, recipe):
        return replace(recipe, learning_rate=self.rate) if recipe.share == "update" else recipe


@dataclass(frozen=True)
class Local(Defense):
    """Ask for local training."""

    def on_recipe(self, recipe):
        return replace(recipe, share="update")


@dataclass(frozen=True)
class Pairs(Defense):
    """Need several images in every step."""

    least: int = 2

    @property
    def step_images(self):
        return self.least


def test_what_was_agreed_is_left_alone():
    defense = Chain((Local(), NoDefense(), Rate(0.5)))
    agreed = agreed_recipe(LocalTraining(), defense)
    assert agreed == LocalTraining(share="update", learning_rate=0.5)
    assert agreed_recipe(agreed, defense) == agreed
    assert agreed_recipe(LocalTraining(), NoDefense()) == LocalTraining()


@pytest.mark.parametrize("parts", [(Rate(0.5), Local()), (Local(), Rate(0.1), Rate(0.5))], ids=["order", "rivals"])
def test_parts_that_do_not_agree_are_refused(parts):
    with pytest.raises(
        DefenseError, match=r"Rate: expected a recipe with learning_rate = 0\.\d, got .*no two defences"
    ):
        agreed_recipe(LocalTraining(learning_rate=0.2), Chain(parts))


def test_nobody_trains_by_a_recipe_that_the_defence_would_change():
    task, state = tiny.make(tiny.plain)
    images, labels = tiny.draw_batch(2)
    with pytest.raises(DefenseError, match="Local: expected a recipe with share = 'update', got 'gradient'"):
        client_update(task, state, images, labels, LocalTraining(), Local(), Tape())
    with pytest.raises(DefenseError, match="make it by agreed_recipe before the round"):
        run_round(task, state, Batch(images, labels), LocalTraining(), Local(), generator(0))


@pytest.mark.parametrize("knowledge", ["unaware", "aware", "oracle"])
def test_attackers_of_every_level_see_the_recipe_that_was_agreed(knowledge):
    task, state = tiny.make(tiny.plain)
    agreed = agreed_recipe(LocalTraining(batch_images=2), Local())
    round_ = run_round(task, state, Batch(*tiny.draw_batch(2)), agreed, Local(), generator(0))
    assert observe(round_, ThreatModel(knowledge)).recipe == agreed


def test_a_round_with_fewer_images_than_agreed_is_refused():
    task, state = tiny.make(tiny.plain)
    batch = Batch(*tiny.draw_batch(4))
    with pytest.raises(DefenseError, match="recipe: expected at least 3 images for a round, got 2; lower batch_images"):
        run_round(task, state, batch, LocalTraining(batch_images=3), NoDefense(), generator(0), clients=2)
    round_ = run_round(task, state, batch, LocalTraining(batch_images=2), NoDefense(), generator(0), clients=2)
    assert round_.update.images == 4


def test_every_local_step_needs_as_many_images_as_the_defence_says():
    assert Chain((NoDefense(), Pairs(3), Pairs(2))).step_images == 3
    assert Chain(()).step_images == NoDefense().step_images == 1
    recipe = LocalTraining(share="update", batch_images=5, minibatch=2)
    require_images(recipe, Pairs(), 6)
    for images in (5, 7):
        with pytest.raises(DefenseError, match="Pairs: expected at least 2 images in every local step, got 1; raise"):
            require_images(recipe, Pairs(), images)
    require_step_images(replace(recipe, share="gradient"), Pairs(5), 5)
    with pytest.raises(DefenseError, match="expected at least 6 images in every local step, got 5"):
        require_step_images(replace(recipe, share="gradient"), Pairs(6), 5)


def test_a_round_whose_steps_are_too_small_is_refused_before_anything_is_computed():
    task, _ = tiny.make(tiny.plain)
    batch = Batch(torch.rand(1, *tiny.SHAPE), torch.tensor([0]))
    with pytest.raises(DefenseError, match="Pairs: expected at least 2 images in every local step, got 1"):
        run_round(task, {}, batch, LocalTraining(), Pairs(), generator(0))
