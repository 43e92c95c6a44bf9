"""The id of a cell stands for everything its numbers depend on, and nothing else."""

import copy
import subprocess
import sys

import pytest

from leakward.auditing import make_plan
from leakward.auditing.cell import cell_id, cells, training_id
from leakward.defenses import GaussianNoise, ShadowDefense
from leakward.federated import NoDefense
from leakward.streams import stream

TABLES = {
    "data": {"name": "somewhere.npz", "seed": 0},
    "model": {"name": "lenet", "channels": 12},
    "audit": {"seeds": [0, 1], "knowledge": ["unaware", "aware"]},
    "attack": [{"name": "dlg"}, {"name": "idlg"}],
    "defense": [{"name": "gaussian-noise", "std": 0.1}, {"name": "pruning"}],
}


def plan(**changes):
    tables = copy.deepcopy(TABLES)
    for path, value in changes.items():
        table, _, key = path.partition("__")
        tables.setdefault(table, {})[key] = value
    return make_plan(tables)


def first_id(plan, fingerprint="f", **wanted):
    found = (c for c in cells(plan) if all(getattr(c, k) == v for k, v in wanted.items()))
    return cell_id(plan, next(found), fingerprint)


def test_the_grid_in_order_with_none_once_per_attack_and_seed():
    grid = [(c.seed, type(c.defense).__name__, c.knowledge, type(c.attack).__name__) for c in cells(plan())]
    levels = [("NoDefense", "aware")]
    levels += [(d, k) for d in ("GaussianNoise", "Pruning") for k in ("unaware", "aware")]
    assert grid == [(s, d, k, a) for s in (0, 1) for d, k in levels for a in ("DLG", "IDLG")]


def test_no_two_cells_share_an_id():
    made = plan()
    ids = [cell_id(made, cell, "f") for cell in cells(made)]
    assert len(set(ids)) == len(ids) == 20


CHANGES = [
    ("data__seed", 1),
    ("data__name", "elsewhere.npz"),
    ("data__site_images", 64),
    ("data__clients", 2),
    ("model__name", "convnet"),
    ("model__channels", 6),
    ("recipe__learning_rate", 0.5),
    ("recipe__batch_images", 2),
    ("audit__victims", 3),
    ("audit__labels", "granted"),
    ("audit__aggregated_clients", 2),
    ("utility__epochs", 3),
]


@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_the_id_changes_with_what_the_numbers_depend_on(key, value):
    changes = {key: value}
    if key == "model__name":
        changes["model__channels"] = 12
    assert first_id(plan(**changes)) != first_id(plan())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("audit__confidence", 0.5),
        ("audit__images", False),
        ("audit__seeds", [0]),
        ("audit__knowledge", ["aware"]),
        ("attack", [{"name": "dlg"}]),
        ("defense", [{"name": "gaussian-noise", "std": 0.1}]),
    ],
)
def test_the_id_does_not_change_with_anything_else(key, value):
    other = plan(**{key: value}) if "__" in key else make_plan({**TABLES, key: value})
    wanted = {"defense": GaussianNoise(std=0.1), "knowledge": "aware"}
    assert first_id(other, **wanted) == first_id(plan(), **wanted)


def test_the_id_changes_with_attack_defence_knowledge_seed_and_pixels():
    one = {"defense": GaussianNoise(std=0.1), "knowledge": "aware", "seed": 0}
    ids = {
        first_id(plan(), **one),
        first_id(plan(), **one | {"knowledge": "unaware"}),
        first_id(plan(), **one | {"seed": 1}),
        first_id(plan(), **one | {"defense": NoDefense()}),
        first_id(plan(), "other pixels", **one),
        first_id(make_plan({**TABLES, "attack": [{"name": "dlg", "restarts": 7}]}), **one),
        first_id(make_plan({**TABLES, "defense": [{"name": "gaussian-noise", "std": 0.2}]}), knowledge="unaware"),
    }
    assert len(ids) == 7


def test_the_id_changes_with_the_content_of_a_file_that_the_attack_reads(tmp_path):
    path = tmp_path / "prior"
    made = make_plan({**TABLES, "attack": [{"name": "ggl", "prior": str(path)}]})
    ids = [first_id(made)]
    for content in (b"one", b"two", b"one"):
        path.write_bytes(content)
        ids.append(first_id(made))
    assert len(set(ids)) == 3
    assert ids[1] == ids[3]


def test_the_id_changes_with_the_content_of_a_file_that_the_defence_reads(tmp_path):
    path = tmp_path / "prior"
    defense = ShadowDefense("intended", prior=str(path))
    ids = [training_id(plan(), defense, 0, "f")]
    for content in (b"one", b"two", b"one"):
        path.write_bytes(content)
        ids.append(training_id(plan(), defense, 0, "f"))
    assert len(set(ids)) == 3
    assert ids[1] == ids[3]


def test_the_id_of_a_training_does_not_depend_on_attacks_or_victims():
    of = [training_id(p, GaussianNoise(std=0.1), 0, "f") for p in (plan(), plan(audit__victims=2))]
    assert of[0] == of[1]
    others = {
        training_id(plan(), NoDefense(), 0, "f"),
        training_id(plan(), GaussianNoise(std=0.1), 1, "f"),
        training_id(plan(), GaussianNoise(std=0.1), 0, "g"),
        training_id(plan(utility__learning_rate=0.1), GaussianNoise(std=0.1), 0, "f"),
    }
    assert len(others | {of[0]}) == 5


def test_equal_plans_have_equal_ids_in_any_process():
    here = first_id(plan())
    assert here == first_id(make_plan(copy.deepcopy(TABLES)))
    code = f"from test_cell import *; print(first_id(make_plan({TABLES!r})))"
    path = __file__.rpartition("/")[0]
    there = subprocess.run([sys.executable, "-c", code], cwd=path, env={"PYTHONHASHSEED": "7"}, capture_output=True)
    assert there.stdout.decode().strip() == here, there.stderr


def test_equal_words_give_equal_numbers_and_others_do_not():
    def draws(*words):
        return stream(*words).initial_seed()

    assert draws("client", 1) == draws("client", 1)
    assert len({draws("client", 1), draws("client", 2), draws("clien", "t1"), draws("attack", 1)}) == 4
