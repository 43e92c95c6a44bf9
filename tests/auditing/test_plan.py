"""A plan is read whole, or refused with everything that is wrong with it."""

import datetime
import tomllib
from pathlib import Path

import pytest

from leakward.attacks import Ensemble, InvertingGradients
from leakward.auditing import make_plan, quick_plan, read_plan
from leakward.auditing.plan import plain
from leakward.defenses import Clipping, GaussianNoise, LearnablePerturbation
from leakward.errors import PlanError
from leakward.federated import Chain, LocalTraining, NoDefense
from leakward.parts import label

FULL = """
[data]
name = "bloodmnist"
path = "/somewhere"
clients = 3
alpha = 0.5

[model]
name = "convnet"
width = 4

[recipe]
share = "update"
batch_images = 2
epochs = 2
optimizer = "adam"

[audit]
victims = 3
seeds = [0, 7]
knowledge = ["aware", "oracle"]
labels = "granted"

[utility]
epochs = 0

[[attack]]
name = "inverting-gradients"
iterations = 12

[[attack]]
name = "dlg"

[[defense]]
name = "gaussian-noise"
std = 1
"""


@pytest.mark.parametrize("tables", [quick_plan(), tomllib.loads(FULL)], ids=["quick", "full"])
def test_a_plan_written_out_makes_the_same_plan(tables):
    plan = make_plan(tables)
    assert make_plan(plain(plan)) == plan
    assert plain(make_plan(plain(plan))) == plain(plan)


def test_every_value_arrives():
    plan = make_plan(tomllib.loads(FULL))
    assert (plan.data.path, plan.data.clients, plan.data.alpha) == ("/somewhere", 3, 0.5)
    assert plan.model.options == {"width": 4}
    assert plan.recipe == LocalTraining("update", batch_images=2, epochs=2, optimizer="adam")
    assert (plan.audit.seeds, plan.audit.knowledge, plan.audit.labels) == ((0, 7), ("aware", "oracle"), "granted")
    assert plan.attacks[0] == InvertingGradients(iterations=12)
    assert plan.defenses == (NoDefense(), GaussianNoise(std=1.0))


def test_the_quick_plan_stays_small_and_fair():
    plan = make_plan(quick_plan())
    assert plan.data.name == "phantom"
    assert plan.audit.victims * len(plan.audit.seeds) >= 4, "below, no absence of a leak is ever claimed"
    assert "aware" in plan.audit.knowledge
    assert len(plan.defenses) > 1


def test_none_comes_first_and_parts_named_twice_count_once():
    attack = {"name": "dlg"}
    noise, none = {"name": "gaussian-noise", "std": 0.1}, {"name": "none"}
    plan = make_plan({"attack": [attack, attack], "defense": [noise, none, noise]})
    assert plan.defenses == (NoDefense(), GaussianNoise(std=0.1))
    assert len(plan.attacks) == 1


WRONG = {
    "dta": {},
    "data": {"name": "phantom", "colour": 1},
    "model": {"name": "lenet", "channels": [1]},
    "recipe": {"batch_images": "two", "share": "gradients"},
    "audit": {"victims": 2.5},
    "attack": [{"name": "dgl"}, {"name": "dlg", "steps": 3}, {"name": "inverting-gradients", "iterations": 0}],
    "defense": [{"name": "gaussian-noise", "std": -0.1}, {"name": "noise"}],
}


def test_all_problems_are_reported_together_with_place_and_remedy():
    with pytest.raises(PlanError) as caught:
        make_plan(WRONG)
    lines = str(caught.value).splitlines()[1:]
    expected = [
        ("[dta]", "allowed: attack, audit, data, defense, federation, model, recipe, utility"),
        ("[data]", "unknown key 'colour'; allowed: name, path,"),
        ("[recipe] batch_images", "'two'"),
        ("[recipe] share", "'gradient' or 'update', got 'gradients'"),
        ("[audit] victims", "2.5"),
        ("[model] channels", "expected a number, a word or a truth value, got [1]"),
        ("[[attack]] 1", "unknown name 'dgl'; allowed: analytic-linear, cpl, curious"),
        ("[[attack]] 2 dlg", "unknown key 'steps'; allowed: "),
        ("[[attack]] 3 inverting-gradients", "iterations=0: expected a whole number of at least 1"),
        ("[[defense]] 1 gaussian-noise", "std=-0.1: expected a finite number of at least 0"),
        ("[[defense]] 2", "unknown name 'noise'; allowed: "),
    ]
    for place, words in expected:
        assert any(place in line and words in line for line in lines), (place, words, lines)
    assert len(lines) == len(expected)


OUT_OF_RANGE = [
    ("data", "clients", 0),
    ("data", "alpha", -1.0),
    ("data", "alpha", float("inf")),
    ("data", "shares", [8, 4]),
    ("data", "shares", [0]),
    ("data", "size", 0),
    ("data", "count", -3),
    ("data", "site_images", 1),
    ("audit", "client", 1),
    ("audit", "victims", 0),
    ("audit", "victims", 257),
    ("audit", "seeds", []),
    ("audit", "seeds", [1, 1]),
    ("audit", "after_rounds", []),
    ("audit", "after_rounds", [1, 1]),
    ("audit", "after_rounds", [-1]),
    ("audit", "after_rounds", [0, 11]),
    ("audit", "knowledge", ["unaware"]),
    ("audit", "knowledge", ["aware", "aware"]),
    ("audit", "confidence", 1.0),
    ("utility", "epochs", -1),
    ("utility", "batch_size", 0),
    ("utility", "learning_rate", 0.0),
    ("utility", "learning_rate", float("inf")),
    ("utility", "train_images", -1),
    ("utility", "delta", 0.0),
    ("federation", "minibatches", [4, 4]),
]


@pytest.mark.parametrize(("table", "key", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_with_its_place(table, key, value):
    with pytest.raises(PlanError, match=rf"\[{table}\] {key}: expected") as caught:
        make_plan({"audit": {"victims": 1}} | {table: {key: value}, "attack": [{"name": "dlg"}]})
    assert len(str(caught.value).splitlines()) == 2


def test_several_values_out_of_range_are_reported_together():
    with pytest.raises(PlanError) as caught:
        make_plan({"data": {"clients": 0}, "utility": {"delta": 2.0}, "attack": [{"name": "dlg"}]})
    assert "[data] clients" in str(caught.value)
    assert "[utility] delta" in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"attack": []}, "[[attack]]: expected at least one, got none"),
        ({"attack": {"name": "dlg"}}, "[[attack]]: expected repeated tables"),
        ({"attack": "dlg"}, "[[attack]]: expected repeated tables"),
        ({"attack": [{}]}, "[[attack]] 1: unknown name None"),
        ({"attack": [{"name": ["dlg"]}]}, "[[attack]] 1: unknown name ['dlg']"),
        ({"audit": 3, "attack": [{"name": "dlg"}]}, "[audit]: expected a table, got 3"),
        ({"model": {"name": "resnet"}, "attack": [{"name": "dlg"}]}, "[model] name: unknown name 'resnet'; allowed: "),
        ({"model": {"name": 3}, "attack": [{"name": "dlg"}]}, "[model] name: unknown name 3"),
        ({"audit": {"victims": datetime.date(2020, 1, 1)}, "attack": [{"name": "dlg"}]}, "[audit] victims"),
    ],
)
def test_tables_of_the_wrong_kind(tables, words):
    with pytest.raises(PlanError) as caught:
        make_plan(tables)
    assert words in str(caught.value)


def test_a_path_may_be_given_as_one():
    assert make_plan({"data": {"path": Path("x") / "y"}, "attack": [{"name": "dlg"}]}).data.path == str(Path("x") / "y")


def test_plan_files_that_cannot_be_read(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\n")
    for path, words in ((tmp_path / "none.toml", "check the path"), (broken, "expected TOML"), (tmp_path, "readable")):
        with pytest.raises(PlanError, match=words) as caught:
            read_plan(path)
        assert len(str(caught.value).splitlines()) == 1


def test_labels_say_what_is_not_a_default():
    assert label("defenses", LearnablePerturbation()) == "learnable-perturbation"
    assert label("defenses", LearnablePerturbation(mean=0.0, std=0.5)) == "learnable-perturbation(mean=0.0, std=0.5)"
    assert label("attacks", InvertingGradients(restarts=2)) == "inverting-gradients(restarts=2)"


def test_a_plan_without_attacks_gets_the_ensemble():
    assert make_plan({}).attacks == (Ensemble(),)


CHAINED = {"name": "chain", "parts": [{"name": "clipping", "max_norm": 2.0}, {"name": "gaussian-noise"}]}


def test_several_defences_as_one():
    made = make_plan({"defense": [CHAINED, {"name": "pruning"}]})
    chain = Chain((Clipping(max_norm=2.0), GaussianNoise()))
    assert made.defenses[:2] == (NoDefense(), chain)
    assert label("defenses", chain) == "clipping(max_norm=2.0) + gaussian-noise"
    assert make_plan(plain(made)) == made


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"name": "chain"}, "[[defense]] 1 chain parts: expected at least 2 defences, got 0"),
        (CHAINED | {"order": 1}, "[[defense]] 1 chain: unknown key 'order'; allowed: parts"),
        ({"name": "chain", "parts": [{"name": "nosuch"}]}, "[[defense]] 1 chain parts 1: unknown name 'nosuch'"),
        (
            {"name": "chain", "parts": [{"name": "dp-sgd"}] * 2},
            "chain: Chain: expected at most one defence",
        ),
    ],
)
def test_what_is_wrong_with_a_chain_is_said(table, problem):
    with pytest.raises(PlanError) as error:
        make_plan({"defense": [table]})
    assert problem in str(error.value)
