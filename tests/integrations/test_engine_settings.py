"""A chosen defence as settings: what is written can be read by the engine it is for."""

import json
import tomllib
from importlib import import_module

import pytest

from leakward import registry
from leakward.auditing import make_plan
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining
from leakward.integrations.message_level import read_defense
from leakward.integrations.settings import flare_settings, flower_settings, plan_settings, written_out

UPDATE = LocalTraining(share="update")
MESSAGE = ["gaussian-noise", "clipping", "local-dp", "top-k", "withheld-layers"]


def make(name, **fields):
    return registry.load("defenses", name)(**fields)


CHAIN = Chain((make("clipping", max_norm=0.5), make("gaussian-noise", std=0.25)))


def built(settings):
    """Return every filter of FLARE's configuration, made as FLARE makes it."""
    found = json.loads(settings[settings.index("{") :])
    entries = [one for chain in found.values() for tasks in chain for one in tasks["filters"]]
    return [
        getattr(import_module(e["path"].rpartition(".")[0]), e["path"].rpartition(".")[2])(**e["args"]) for e in entries
    ]


@pytest.mark.parametrize("name", MESSAGE)
def test_a_defence_on_messages_can_be_read_back_from_both_engines(name):
    defense = make(name)
    flower = flower_settings(defense, UPDATE)
    config = tomllib.loads(flower[: flower.index("# the client app")])["tool"]["flwr"]["app"]["config"]
    assert read_defense(config["leakward-defense"]) == defense
    made = built(flare_settings(defense, UPDATE))
    assert [type(one).__name__ for one in made] == ["DefenseFilter", "SentModelFilter"]
    assert made[0].applied == defense


def test_a_chain_is_one_table_of_flower_and_several_filters_of_flare():
    flower = flower_settings(CHAIN, UPDATE)
    config = tomllib.loads(flower[: flower.index("# the client app")])["tool"]["flwr"]["app"]["config"]
    assert read_defense(config["leakward-defense"]) == CHAIN
    made = built(flare_settings(CHAIN, UPDATE))
    assert [one.applied for one in made[:2]] == list(CHAIN.parts)


@pytest.mark.parametrize("defense", [make("gaussian-noise", std=0.5), CHAIN, make("dp-sgd")])
def test_the_table_of_a_plan_makes_the_same_defence(defense):
    assert make_plan(tomllib.loads(plan_settings(defense))).defenses[1] == defense


def test_filters_of_flare_are_written_with_their_own_settings():
    settings = flare_settings(make("flare-percentile", percentile=50.0, transfer="diff"), UPDATE)
    assert settings.startswith("Clients have to send the change of their weights (params_transfer_type = DIFF).")
    [made] = built(settings)
    assert type(made).__name__ == "PercentilePrivacy"
    assert made.percentile == 50.0
    assert type(built(flare_settings(make("flare-svt"), UPDATE))[0]).__name__ == "SVTPrivacy"


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("flower-local-dp", ("LocalDpMod(clipping_norm=1.0, sensitivity=1.0, epsilon=1.0, delta=1e-05)",)),
        ("flower-fixed-clipping", ("mods=[fixedclipping_mod]", "DifferentialPrivacyClientSideFixedClipping")),
        ("flower-adaptive-clipping", ("mods=[adaptiveclipping_mod]", "initial_clipping_norm=0.1")),
    ],
)
def test_mods_of_flower_are_written_with_their_own_settings(name, names):
    settings = flower_settings(make(name), UPDATE)
    assert all(one in settings for one in names)
    for line in settings.splitlines():
        if line.startswith("from "):
            _, module, _, what = line.split()
            assert hasattr(import_module(module), what)


@pytest.mark.parametrize("name", ["bido", "dp-sgd", "larger-batches", "central-dp"])
def test_what_an_engine_cannot_do_is_said(name):
    found = written_out(make(name, batch_images=4) if name == "larger-batches" else make(name), UPDATE)
    assert found["Flower"].startswith("None: ")
    assert found["NVIDIA FLARE"].startswith("None: ")
    assert "name" in tomllib.loads(found["Plan of Leakward"])["defense"][0]


def test_settings_found_on_gradients_are_not_those_of_an_engine():
    with pytest.raises(DefenseError, match="share=update"):
        flower_settings(make("clipping"), LocalTraining())
