"""What every defence in the registry must do; a new one is tested by being listed."""

import copy
import math

import pytest
import torch
from torch.func import grad, vmap

from leakward import registry
from leakward.errors import DefenseError, PlanError
from leakward.federated import Chain, LocalTraining, NoDefense, Reply, agreed_recipe, client_round, client_update
from leakward.models import TaskSpec, build_task
from leakward.settings import parse, plain_fields
from leakward.tape import Tape, sample
from leakward.types import generator

NAMES = sorted(registry.names("defenses"))
RECIPES = {
    "gradient": LocalTraining(batch_images=4),
    "update": LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2, momentum=0.5),
    "adam": LocalTraining(share="update", batch_images=4, epochs=2, optimizer="adam", learning_rate=1e-3),
}
BAD_FIELDS = [
    *(("gaussian-noise", {"std": bad}) for bad in (-0.1, math.nan, math.inf)),
    *(("laplacian-noise", {"scale": bad}) for bad in (-0.1, math.nan, math.inf)),
    *(("clipping", {"max_norm": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("pruning", {"ratio": bad}) for bad in (-0.1, 1.0, math.nan)),
    *(("soteria", {"ratio": bad}) for bad in (-0.1, 1.0, math.nan)),
    *(("quantise", {"levels": bad}) for bad in (0, -1, True)),
    *(("top-k", {"keep": bad}) for bad in (0.0, -0.1, 1.1, math.nan)),
    *(("local-dp", {"max_norm": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("local-dp", {"noise_multiplier": bad}) for bad in (-1.0, math.nan, math.inf)),
    *(("central-dp", {"max_norm": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("central-dp", {"noise_multiplier": bad}) for bad in (-1.0, math.nan, math.inf)),
    *(("central-dp", {"clients": bad}) for bad in (0, -1, True)),
    *(("withheld-layers", {name: bad}) for name in ("first", "last") for bad in (-1, True)),
    ("withheld-layers", {"named": (), "first": 0, "last": 0}),
    *(("frozen-layers", {name: bad}) for name in ("first", "last") for bad in (-1, True)),
    ("frozen-layers", {"named": (), "first": 0, "last": 0}),
    *(("outpost", {name: bad}) for name in ("decay", "scale") for bad in (-1.0, math.nan, math.inf)),
    *(("outpost", {"ratio": bad}) for bad in (-0.1, 1.0, math.nan)),
    *(("outpost", {"noisy": bad}) for bad in (0.0, 1.1, math.nan)),
    *(("larger-batches", {"batch_images": bad}) for bad in (1, 0, True)),
    *(("more-local-steps", {"epochs": bad}) for bad in (0, -1, True)),
    ("more-local-steps", {"minibatch": -1}),
    *(("more-local-steps", {"learning_rate": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("mixup", {"alpha": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("instahide", {"mixed": bad}) for bad in (1, 0, True)),
    *(("instahide", {"bound": bad}) for bad in (0.2, 1.1, math.nan)),
    *(("ats", {"policy": bad}) for bad in ("", "50", "3-", "3-1-7+", "3,1", "-1", "a")),
    *(("ats", {"candidates": bad}) for bad in (-1, True)),
    *(("dp-sgd", {"max_grad_norm": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("dp-sgd", {"noise_multiplier": bad}) for bad in (-1.0, math.nan, math.inf)),
    *(("precode", {"size": bad}) for bad in (0, -1)),
    ("variational-bottleneck", {"size": -1}),
    *(("variational-bottleneck", {"kernel": bad}) for bad in (0, 2, -1)),
    *((name, {"coefficient": bad}) for name in ("precode", "variational-bottleneck") for bad in (-1.0, math.nan)),
    *(("group-norm", {"groups": bad}) for bad in (0, -1)),
    *(("learnable-perturbation", {name: bad}) for name in ("std", "coefficient") for bad in (-1.0, math.nan, math.inf)),
    *(("bido", {f"{name}_coefficient": bad}) for name in ("input", "label") for bad in (-1.0, math.nan, math.inf)),
    *(("bido", {"sigma": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("bido", {"layers": bad}) for bad in (("encoder", "encoder"), ("",))),
    *(("learnable-perturbation", {"mean": bad}) for bad in (math.nan, math.inf)),
    *(("learnable-perturbation", {name: 0}) for name in ("pretrain_epochs", "pretrain_batch")),
    *(("learnable-perturbation", {f"{name}_learning_rate": 0.0}) for name in ("decoder", "pretrain")),
    *(("shadow-defense", {name: 0}) for name in ("latent", "channels", "iterations", "shadow_steps")),
    *(("shadow-defense", {name: 0}) for name in ("shadow_rounds", "rounds")),
    *(
        ("shadow-defense", {name: bad})
        for name in ("strength", "latent_learning_rate", "shadow_learning_rate")
        for bad in (0.0, -1.0, math.nan, math.inf)
    ),
    *(("shadow-defense", {"protected": bad}) for bad in (-0.1, 1.1, math.nan)),
    ("shadow-defense", {"except_for": ("layout", "layout")}),
    ("shadow-defense", {"latent_steps": 0}),
    ("shadow-defense", {"prior": "mine.safetensors"}),
    *(("random-pixel-noise", {"relative_rms": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("brightness-offset", {"relative_offset": bad}) for bad in (math.nan, math.inf)),
    *(("flare-percentile", {"percentile": bad}) for bad in (-1.0, 101.0, math.nan)),
    *((f"flare-{name}", {"gamma": bad}) for name in ("percentile", "svt") for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("flare-svt", {"fraction": bad}) for bad in (0.0, -0.1, 1.1, math.nan)),
    *(("flare-svt", {name: bad}) for name in ("epsilon", "noise_var") for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("flare-svt", {"tau": bad}) for bad in (math.nan, math.inf)),
    *(
        (f"flower-{name}", {"clipping_norm": bad})
        for name in ("local-dp", "fixed-clipping", "adaptive-clipping")
        for bad in (0.0, -1.0, math.nan, math.inf)
    ),
    *(("flower-local-dp", {"sensitivity": bad}) for bad in (-1.0, math.nan, math.inf)),
    *(("flower-local-dp", {"epsilon": bad}) for bad in (0.0, -1.0, math.nan, math.inf)),
    *(("flower-local-dp", {"delta": bad}) for bad in (0.0, 1.0, math.nan)),
]
SETTINGS = {
    "group-norm": {"groups": 2},
    "shadow-defense": {"latent_steps": 3, "channels": 2},
    "flare-percentile": {"transfer": "diff"},
    "flare-svt": {"transfer": "diff", "fraction": 0.5, "epsilon": 1e5, "noise_var": 1e3, "gamma": 0.01},
    "flower-local-dp": {"epsilon": 100.0},
}
"""Of defences whose defaults do not fit the small network, take long, or leave nothing of the message."""


NORMALISED = {"group-norm"}
"""Defences that need a network with BatchNorm."""


def make(name):
    return registry.load("defenses", name)(**SETTINGS.get(name, {}))


@pytest.fixture
def client(name, lenet, batchnorm):
    """A client of the network that the defence ``name`` makes of a small one."""
    small = batchnorm if name in NORMALISED else lenet
    task, state = make(name).install(small.task, small.state, generator(9))
    return small._replace(task=task, state=state)


def send(client, defense, tape, recipe="gradient", images=None):
    """Send an update by one of ``RECIPES`` and what the defence makes of it, or by a recipe as it is."""
    task, state, own, labels = client
    recipe = agreed_recipe(RECIPES[recipe], defense) if isinstance(recipe, str) else recipe
    return client_update(task, state, own if images is None else images, labels, recipe, defense, tape)


def attack(client, defense, target, weight, recipe, trials):
    """Return the image gradient of a weighted squared distance, for several trials at once."""
    rehearsal = Tape(generator(0))
    send(client, defense, rehearsal, recipe)
    values = [torch.stack([sample(draw, generator(i)) for i in range(trials)]) for draw in rehearsal.draws]
    candidates = torch.rand(trials, *client.images.shape, generator=generator(1))

    def objective(images, drawn):
        found = send(client, defense, Tape(values=drawn), recipe, images).tensors
        return sum((weight[name] * (found[name] - target[name]).square()).sum() for name in target)

    return vmap(grad(objective))(candidates, values)


@pytest.mark.parametrize("name", NAMES)
def test_repr_round_trips_and_equal_fields_are_equal(name):
    kind = registry.load("defenses", name)
    defense = kind()
    again = eval(repr(defense), {kind.__name__: kind})
    assert again == defense
    assert hash(again) == hash(defense)


@pytest.mark.parametrize("name", NAMES)
def test_settings_round_trip_through_a_plan(name):
    kind = registry.load("defenses", name)
    made, problems = parse(kind, plain_fields(kind()), "defense")
    assert problems == []
    assert made == kind()


@pytest.mark.parametrize(("name", "fields"), BAD_FIELDS)
def test_bad_fields_are_refused(name, fields):
    with pytest.raises(PlanError, match=f"{next(iter(fields))}=.*: expected"):
        registry.load("defenses", name)(**fields)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_message_is_finite_and_holds_nothing_but_parameters(name, recipe, client):
    update = send(client, make(name), Tape(generator(0)), recipe)
    assert tuple(update.tensors) == client.task.parameter_names
    assert update.buffers == {}
    for key, value in update.tensors.items():
        assert value.shape == client.state[key].shape
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_and_a_replayed_tape_give_the_same_message(name, recipe, client):
    live = Tape(generator(3))
    first = send(client, make(name), live, recipe).tensors
    for tape in (Tape(generator(3)), Tape(values=live.values)):
        again = send(client, make(name), tape, recipe).tensors
        assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_global_randomness_are_left_alone(name, client):
    before, seed = copy.deepcopy((client.state, client.images, client.labels)), torch.get_rng_state()
    send(client, make(name), Tape(generator(0)), "update")
    assert torch.equal(torch.get_rng_state(), seed)
    assert torch.equal(before[1], client.images)
    assert torch.equal(before[2], client.labels)
    assert all(torch.equal(before[0][key], value) for key, value in client.state.items())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NAMES)
def test_an_aware_attacker_can_replay_it_in_one_vmap(name, recipe, client):
    defense = make(name)
    message = send(client, defense, Tape(generator(0)), recipe).tensors
    agreed = agreed_recipe(RECIPES[recipe], defense)
    found = defense.interpret(Reply(client.state, message, {}, 4, agreed))
    gradient = attack(client, defense.replay(), found.message, found.weight, agreed, trials=2)
    assert gradient.shape == (2, *client.images.shape)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_attacker_replay_keeps_no_private_helpers(name, client):
    replay = make(name).replay()
    assert replay.start_private(replay.on_task(client.task), client.state, Tape(generator(0))) == {}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_the_client_keeps_private_helpers(name, client):
    defense = make(name)
    recipe = agreed_recipe(RECIPES["gradient"], defense)
    done = client_round(client.task, client.state, client.images, client.labels, recipe, defense, Tape(generator(0)))
    assert bool(done.private) == defense.keeps_private


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_defence_can_be_replayed_with_its_realised_randomness(name, client):
    tape = Tape(generator(0))
    message = send(client, make(name), tape).tensors

    def distance(images):
        again = send(client, make(name), Tape(values=tape.values), images=images).tensors
        return sum((again[key] - message[key]).square().sum() for key in message)

    candidates = torch.stack([client.images, client.images.flip(0)])
    values = vmap(distance)(candidates)
    assert values[0] < 1e-6 * values[1]
    assert torch.isfinite(vmap(grad(distance))(candidates)).all()


@pytest.mark.parametrize("name", NAMES)
def test_evidence_is_a_message_and_a_trust_between_0_and_1_even_for_silence(name, client):
    defense = make(name)
    message = send(client, defense, Tape(generator(0))).tensors
    for given in (message, {key: torch.zeros_like(value) for key, value in message.items()}):
        found = defense.interpret(Reply(client.state, given, {}, 4, RECIPES["gradient"]))
        for key, value in given.items():
            assert found.message[key].shape == found.weight[key].shape == value.shape
            assert torch.isfinite(found.message[key]).all()
            assert ((found.weight[key] >= 0) & (found.weight[key] <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_chained_with_noise(name, client):
    noise = registry.load("defenses", "gaussian-noise")(std=0.1)
    alone, both = Tape(generator(0)), Tape(generator(0))
    plain = send(client, make(name), alone).tensors
    noisy = send(client, Chain((make(name), noise)), both).tensors
    assert both.draws[: len(alone.draws)] == alone.draws
    added = [(noisy[key] - plain[key]) / 0.1 for key in plain]
    torch.testing.assert_close(added, both.values[len(alone.draws) :], rtol=1e-3, atol=1e-4)
    agreed = agreed_recipe(RECIPES["gradient"], make(name))
    assert torch.isfinite(attack(client, Chain((make(name), noise)).replay(), plain, plain, agreed, 2)).all()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_is_changed_once_and_then_agreed(name, recipe):
    defense = make(name)
    agreed = agreed_recipe(RECIPES[recipe], defense)
    assert defense.on_recipe(agreed) == agreed_recipe(agreed, Chain((defense, NoDefense()))) == agreed


@pytest.mark.parametrize("name", NAMES)
def test_it_says_how_many_images_a_step_has_to_have(name, client):
    """A step of so many is possible, and one of fewer is refused."""
    defense, least = make(name), make(name).step_images
    few = client._replace(images=client.images[:least], labels=client.labels[:least])
    assert all(torch.isfinite(value).all() for value in send(few, defense, Tape(generator(0))).tensors.values())
    if least > 1:
        fewer = client._replace(images=client.images[: least - 1], labels=client.labels[: least - 1])
        with pytest.raises(DefenseError, match=f"expected at least {least} images in every step.* got {least - 1}"):
            send(fewer, defense, Tape(generator(0)))


@pytest.mark.parametrize("name", NAMES)
def test_whoever_states_an_epsilon_asks_for_the_sampling_it_is_for(name):
    defense = make(name)
    assert defense.poisson == (defense.guarantee(0.01, 2, 1e-3) is not None)


def test_no_defence_stands_in_the_registry_under_another_name():
    assert registry.load("defenses", "none") is NoDefense


def test_a_network_without_latent_map_is_refused():
    task = build_task(TaskSpec("mlp", (3, 8, 8), 4))
    with pytest.raises(DefenseError, match="latent map"):
        make("learnable-perturbation").on_task(task)
