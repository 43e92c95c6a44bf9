"""What every attack in the registry must do; a new one is tested by being listed."""

import copy
import math
from dataclasses import replace
from typing import Any, get_type_hints

import pytest
import torch
from grid import pairs
from torch import nn

from leakward import registry
from leakward.attacks import InvertingGradients, Status
from leakward.attacks.reconstruction import NOT_APPLICABLE
from leakward.errors import PlanError
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import Task, TaskSpec
from leakward.settings import allowed_keys, parse, plain_fields
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

NAMES = sorted(registry.names("attacks"))
DEFENSES = sorted(registry.names("defenses").keys() - {"group-norm"})  # which needs a network with BatchNorm
BUDGET = ("iterations", "evaluations")
RECIPES = {
    "unaware": LocalTraining(batch_images=2),
    "aware": LocalTraining(share="update", batch_images=2, minibatch=1, learning_rate=0.1),
    "oracle": LocalTraining(),
}
PAIRS = {"mixup", "instahide", "bido"}
"""Defences that need two images in every step."""
SEARCHES_LABELS = {"dlg"}
"""Attacks that find labels by themselves, and so need no class biases."""
CLOSED_FORM = {"analytic-linear", "r-gap", "spear"}
"""Attacks that compute an answer: a silent message has none, and a network of another form is refused.

The same goes for active ones, which are told whether what they planted caught an image."""
FITTING: dict[str, dict[str, Any]] = {
    "curious-abandon-honesty": {"hidden": 64},
    "fedavg-inversion": {
        "recipe": LocalTraining(share="update", batch_images=2, epochs=2, minibatch=1, shuffle=True, learning_rate=0.1)
    },
    "fl-gradient-inversion": {
        "model": "batch_normalised:network",
        "recipe": LocalTraining(share="update", batch_images=2, mode="train", learning_rate=0.1),
    },
    "fishing": {"recipe": LocalTraining(batch_images=4)},
    "r-gap": {"model": "cnn6"},
    "spear": {"hidden": 64, "recipe": LocalTraining(batch_images=2)},
}
"""What a victim has to be like for an attack that does not work on every network: keywords of ``victims``."""
NEEDS_BATCHNORM = {"fl-gradient-inversion"}
WRONG = {int: (0, -1), float: (math.nan, math.inf, -1.0)}
BAD_FIELDS = [
    (name, field, bad)
    for name in NAMES
    for kind in [registry.load("attacks", name)]
    for field in allowed_keys(kind)
    for bad in WRONG.get(get_type_hints(kind)[field], ())
]


def short(name, steps=3, **fields):
    """Return the attack with a budget of a few steps."""
    kind = registry.load("attacks", name)
    return kind(**{field: steps for field in BUDGET if field in allowed_keys(kind)}, **fields)


def uses_public(attack):
    """Return whether it needs public images, or trains a prior on them where none is given."""
    return "public" in attack.needs or "prior" in allowed_keys(type(attack))


@pytest.fixture
def seen(victims):
    """Observe rounds that an attack applies to: ``seen("dlg", 2)``."""

    def make(name, count, **threat):
        attack = short(name)
        threat = ThreatModel(public=uses_public(attack), **threat)
        fitting = FITTING.get(name, {})
        fitting = fitting if "model" in fitting else {"model": "mlp", "hidden": 8} | fitting
        return victims(count, threat=threat, attack=attack, **fitting)

    return make


def tensors(observation):
    """Return every tensor of an observation, and of its task and defence."""
    seen = [observation.state, observation.update.tensors, observation.update.buffers]
    found = [value for group in seen for value in group.values()]
    found += [*observation.task.model.state_dict().values(), *(observation.randomness or ())]
    return found if observation.labels is None else [*found, observation.labels]


def without(observation, need):
    """Return a copy that lacks a field, as a user may build one, behind the type checker of the test run."""
    lacking = copy.copy(observation)
    object.__setattr__(lacking, need, None)
    return lacking


def require_whole(found, observation):
    assert found.status is Status.OK
    assert found.images.shape == observation.shape
    assert found.images.dtype == torch.float32
    assert torch.isfinite(found.images).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert found.labels.shape == (observation.update.images,)
    assert ((found.labels >= 0) & (found.labels < observation.task.spec.num_classes)).all()
    assert math.isfinite(found.objective)


@pytest.mark.parametrize("name", NAMES)
def test_repr_round_trips_and_equal_fields_are_equal(name):
    kind = registry.load("attacks", name)
    attack = kind()
    again = eval(repr(attack), {kind.__name__: kind})
    assert again == attack
    assert hash(again) == hash(attack)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_valid_and_settings_round_trip_through_a_plan(name):
    kind = registry.load("attacks", name)
    made, problems = parse(kind, plain_fields(kind()), "attack")
    assert problems == []
    assert made == kind()
    assert kind.paper
    assert kind.cost
    assert {*kind.shares} <= {"gradient", "update"}


@pytest.mark.parametrize(("name", "field", "bad"), BAD_FIELDS)
def test_bad_fields_are_refused(name, field, bad):
    kind = registry.load("attacks", name)
    with pytest.raises(PlanError, match=rf"{kind.__name__}: {field}={bad!r}: expected "):
        kind(**{field: bad})


def test_all_bad_fields_are_reported_together():
    with pytest.raises(PlanError, match=r"iterations=0: .*at least 1; restarts=-2: .*at least 1$"):
        InvertingGradients(iterations=0, restarts=-2)


@pytest.mark.parametrize("name", NAMES)
def test_one_image_each(name, seen):
    observed, fractions = seen(name, 3), []
    found = short(name).recover(observed, generator(0), fractions.append)
    assert len(found) == 3
    for one, observation in zip(found, observed, strict=True):
        require_whole(one, observation)
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] == 1


@pytest.mark.parametrize("name", NAMES)
def test_granted_labels_are_kept_by_attacks_that_do_not_search_for_them(name, seen):
    observed = seen(name, 2, labels=True)
    for one, observation in zip(short(name).recover(observed, generator(0)), observed, strict=True):
        require_whole(one, observation)
        if name not in SEARCHES_LABELS:
            assert torch.equal(one.labels, observation.labels)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_answers_and_leave_everything_else_alone(name, seen):
    observed = seen(name, 2)
    before, seed = copy.deepcopy([tensors(o) for o in observed]), torch.get_rng_state()
    first, second = (short(name).recover(observed, generator(5)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert (one.objective, one.evaluations) == (other.objective, other.evaluations)
    assert torch.equal(torch.get_rng_state(), seed)
    for old, observation in zip(before, observed, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(old, tensors(observation), strict=True))
        assert all(value.grad is None for value in tensors(observation))


@pytest.mark.parametrize("name", [name for name in NAMES if "restarts" in allowed_keys(registry.load("attacks", name))])
def test_more_restarts_never_end_with_a_larger_objective(name, seen):
    observed = seen(name, 1)
    found = short(name, restarts=3).recover(observed, generator(0))[0]
    starts = short(name).recover(observed, generator(0))[0]
    assert found.evaluations == 3 * starts.evaluations
    assert found.objective <= starts.objective + 1e-6 * abs(starts.objective)  # side by side, sums round otherwise


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_makes_a_row_and_no_crash(name, seen):
    whole = seen(name, 2)
    for need in short(name).needs:
        found = short(name).recover([whole[0], without(whole[1], need)], generator(0))
        assert found[0].status is Status.OK
        assert found[1] is NOT_APPLICABLE
    assert short(name).recover([], generator(0)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_class_biases_stops_no_audit(name):
    """There labels cannot be read off: an attack that needs them does not apply, one that searches for them does."""
    task = Task(TaskSpec("no-bias", (1, 4, 4), 3), nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False)))
    state = {name: value.clone() for name, value in task.model.state_dict().items()}
    batch = Batch(torch.rand(1, 1, 4, 4, generator=generator(0)), torch.tensor([1]))
    public = Batch(torch.rand(9, 1, 4, 4, generator=generator(1)), torch.arange(9) % 3)
    round_ = run_round(task, state, batch, LocalTraining(share=short(name).shares[0]), NoDefense(), generator(0))
    inferred = short(name).recover([observe(round_, ThreatModel(public=True), public)], generator(0))[0]
    assert inferred.status is (Status.OK if name in SEARCHES_LABELS else Status.NOT_APPLICABLE)
    granted = short(name).recover([observe(round_, ThreatModel(labels=True, public=True), public)], generator(0))[0]
    fits = not (short(name).active or name in CLOSED_FORM | NEEDS_BATCHNORM)
    assert granted.status is (Status.OK if fits else Status.NOT_APPLICABLE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("granted", [False, True], ids=["inferred", "granted"])
def test_a_broken_message_stops_its_own_victim_alone(name, granted, seen):
    clean = seen(name, 3, labels=granted)
    broken = copy.deepcopy(clean)
    for value in broken[1].update.tensors.values():
        value[0] = math.nan
    expected, found = (short(name).recover(given, generator(0)) for given in (clean, broken))
    assert found[1].status is Status.NON_FINITE
    assert found[1].images is None
    assert found[1].objective == math.inf
    for i in (0, 2):
        assert found[i].status is Status.OK
        assert torch.equal(found[i].images, expected[i].images)
        assert found[i].objective == expected[i].objective


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_message_is_no_image_out_of_nothing(name, seen):
    observed = copy.deepcopy(seen(name, 1))
    for value in observed[0].update.tensors.values():
        value.zero_()
    found = short(name).recover(observed, generator(0))[0]
    if name in CLOSED_FORM or short(name).active:
        assert found.status is Status.NON_FINITE
    else:
        require_whole(found, observed[0])


@pytest.mark.parametrize("knowledge", RECIPES)
@pytest.mark.parametrize(("name", "defense"), pairs(NAMES, DEFENSES))
def test_every_defence_can_be_attacked_at_every_level(name, defense, knowledge, victims):
    """The gradient of two images, two local steps, and the gradient of one; pairs where the defence needs them."""
    recipe = RECIPES[knowledge]
    attack, switched_on = short(name, steps=2), registry.load("defenses", defense)()
    observed = victims(
        2,
        "lenet",
        recipe=replace(recipe, batch_images=2, minibatch=0) if defense in PAIRS else recipe,
        defense=switched_on,
        threat=ThreatModel(knowledge, public=uses_public(attack)),
        channels=2,
    )
    for one, observation in zip(attack.recover(observed, generator(0)), observed, strict=True):
        if attack.can_attack(observation):
            require_whole(one, observation)
        else:
            assert one is NOT_APPLICABLE


DIFFERENT = {
    "recipe": {"recipe": LocalTraining(learning_rate=0.5)},
    "threat model": {"threat": ThreatModel(labels=True)},
    "task": {"hidden": 9},
    "defence": {"defense": registry.load("defenses", "clipping")()},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_victims_of_different_clients_are_not_attacked_together(what, victims):
    observed = victims(1, "mlp", hidden=8) + victims(1, "mlp", **{"hidden": 8} | DIFFERENT[what])
    with pytest.raises(ValueError, match=f"observations of one {what}"):
        short("inverting-gradients").recover(observed, generator(0))


def test_victims_with_different_numbers_of_images_are_not_attacked_together(victims):
    first = victims(1, "mlp", hidden=8)[0]
    second = replace(first, update=replace(first.update, images=2))
    with pytest.raises(ValueError, match="observations of one number of images"):
        short("inverting-gradients").recover([first, second], generator(0))
