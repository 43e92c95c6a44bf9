"""The attacker's replay is the client: at the true images it gives the message that was sent."""

from dataclasses import replace

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from leakward import registry
from leakward.attacks import Status
from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.searching.replay import gather
from leakward.attacks.solvers import Solution
from leakward.federated import LocalTraining, NoDefense, agreed_recipe, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

RECIPES = {
    "gradient": LocalTraining(batch_images=2),
    "update": LocalTraining(share="update", batch_images=2, epochs=2, minibatch=1, learning_rate=0.1),
}
PAIRS = {"mixup", "instahide"}
"""Defences that need two images in every step."""


def rounds(recipe, defense=None, states=1):
    """Return two rounds of one client; with two ``states`` they start from different weights."""
    task = build_task(TaskSpec("lenet", (3, 8, 8), 4, {"channels": 2}))
    defense = defense or NoDefense()
    recipe = agreed_recipe(recipe, defense)
    size = recipe.batch_images
    agreed = [defense.install(task, initial_state(task, generator(i)), generator(9)) for i in range(states)]
    task, weights = agreed[0][0], [state for _, state in agreed]
    found = []
    for i in range(2):
        labels = torch.tensor([i, 3]).repeat_interleave(size // 2)
        batch = Batch(torch.rand(size, 3, 8, 8, generator=generator(i)), labels)
        found.append(run_round(task, weights[i % states], batch, recipe, defense, generator(i)))
    return found


def replayed(seen, images, averaged=1, seed=0):
    """Return the victims, and the message that each candidate would give."""
    victims = gather(seen, restarts=1, averaged=averaged)
    draws = victims.replay.draw(generator(seed))

    def message(candidate, victim):
        return victims.replay.message(candidate, victim["labels"], victim, draws)

    return victims, vmap(message)(torch.stack(images), victims.for_trials())


EXACT = [
    pytest.param(name, marks=pytest.mark.slow if name == "shadow-defense" else ())  # half a minute each
    for name in sorted(registry.names("defenses").keys() - {"bido", "group-norm"})
]


@pytest.mark.parametrize("states", [1, 2])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("defense", EXACT)
def test_with_the_realised_randomness_it_is_exact(defense, recipe, states):
    training = replace(RECIPES[recipe], minibatch=0) if defense in PAIRS else RECIPES[recipe]
    private = rounds(training, registry.load("defenses", defense)(), states)
    seen = [observe(round_, ThreatModel("oracle", labels=True)) for round_ in private]
    victims, found = replayed(seen, [round_.batch.images for round_ in private])
    assert ("state" in victims.tensors) == (states == 2)
    for i, round_ in enumerate(private):
        sent = round_.update.tensors
        assert_close({name: value[i] for name, value in found.items()}, sent, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_unaware_attacker_replays_the_undefended_client(recipe):
    private = rounds(RECIPES[recipe], registry.load("defenses", "clipping")(max_norm=1e-3))
    undefended = rounds(RECIPES[recipe])
    seen = [observe(round_, ThreatModel("unaware", labels=True)) for round_ in private]
    _, found = replayed(seen, [round_.batch.images for round_ in private])
    for i, round_ in enumerate(undefended):
        assert_close({name: value[i] for name, value in found.items()}, round_.update.tensors, rtol=1e-4, atol=1e-6)


def test_the_aware_attacker_averages_over_draws_of_its_own():
    private = rounds(RECIPES["gradient"], registry.load("defenses", "learnable-perturbation")())
    seen = [observe(round_, ThreatModel("aware", labels=True)) for round_ in private]
    images = [round_.batch.images for round_ in private]
    _, together = replayed(seen, images, averaged=3, seed=5)
    victims = gather(seen, restarts=1, averaged=3)
    draws = victims.replay.draw(generator(5))
    assert draws
    assert all(len(values) == 3 for values in draws)
    first = {name: value[0] for name, value in victims.tensors["message"].items()}
    labels = seen[0].labels
    alone = [
        victims.replay.message(images[0], labels, {"message": first}, tuple(values[i : i + 1] for values in draws))
        for i in range(3)
    ]
    for name, value in together.items():
        assert_close(value[0], torch.stack([message[name] for message in alone]).mean(0), rtol=1e-4, atol=1e-6)
        assert name.startswith("predictor") or not torch.equal(alone[0][name], alone[1][name])


def test_trust_is_carried_only_where_some_entry_is_not_trusted():
    for defense, carried in (("none", False), ("clipping", False), ("pruning", True)):
        private = rounds(RECIPES["gradient"], registry.load("defenses", defense)())
        victims = gather([observe(round_, ThreatModel()) for round_ in private], restarts=1, averaged=1)
        assert ("weight" in victims.tensors) == carried


def test_of_several_restarts_the_smallest_objective_is_chosen():
    seen = [observe(round_, ThreatModel(labels=True)) for round_ in rounds(RECIPES["gradient"])]
    victims = gather(seen, restarts=3, averaged=1)
    assert victims.trials == 6
    assert torch.equal(victims.for_trials()["labels"], torch.stack([o.labels for o in seen for _ in range(3)]))
    images = torch.arange(6.0)[:, None, None, None, None].expand(6, 2, 3, 8, 8) / 10
    value = torch.tensor([3.0, 1.0, 2.0, torch.inf, torch.inf, torch.inf])
    bad = Status.NON_FINITE
    solution = Solution(
        {"images": images}, value, {"images": images}, (Status.OK, bad, Status.OK, bad, bad, bad), (5,) * 6
    )
    first, second = victims.choose(solution, victims.for_trials()["labels"])
    assert (first.status, first.objective, first.evaluations) == (Status.OK, 1.0, 15)
    assert (first.images == images[1]).all()
    assert torch.equal(first.labels, seen[0].labels)
    assert (second.status, second.images, second.labels) == (Status.NON_FINITE, None, None)


@pytest.mark.parametrize("recipe", RECIPES)
def test_labels_are_read_off_the_sign_of_a_gradient(recipe):
    """An update has the sign of a gradient too."""
    for round_ in rounds(RECIPES[recipe]):
        assert infer_labels(observe(round_, ThreatModel())).tolist() == sorted(round_.batch.labels.tolist())
