"""Updates sent after some training: the weights are those that the training had then."""

from dataclasses import replace

import pandas as pd
import pytest
import tiny_site
import torch
from safetensors.torch import load_file

from leakward.auditing import audit, make_plan
from leakward.auditing.site import open_site
from leakward.auditing.trainings import federated_jobs
from leakward.auditing.utility import train
from leakward.errors import PlanError
from leakward.federated import NoDefense

ONE = [{"name": "analytic-linear"}]
FEDERATION = {
    "data": {"clients": 2},
    "recipe": {"share": "update", "minibatch": 8, "learning_rate": 0.1},
    "federation": {"rounds": 3},
}


@pytest.fixture
def seen(monkeypatch):
    """The weights that the attacker of every cell was shown, by defence and rounds."""
    from leakward.auditing import bench

    found, real = {}, bench.attack_victims

    def spy(plan, site, part, cell, defense, start, *rest):
        found[type(cell.defense).__name__, cell.after_rounds] = start[1]
        return real(plan, site, part, cell, defense, start, *rest)

    monkeypatch.setattr(bench, "attack_victims", spy)
    return found


def equal(one, other):
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)


def test_at_one_site_they_are_those_after_so_many_epochs(data, tmp_path, seen):
    tables = tiny_site.plan(data, attack=ONE, audit={"after_rounds": [0, 2, 3]}, utility={"epochs": 3})
    run = audit(tables, tmp_path)
    for epochs in (2, 3):
        plan = make_plan(tables | {"utility": {**tables["utility"], "epochs": epochs}, "audit": {}})
        site = open_site(plan, torch.device("cpu"))
        for defense in plan.defenses:
            shown = seen[type(defense).__name__, epochs]
            equal(shown, train(plan, site, defense, 0, lambda _: None).state)
    equal(seen["NoDefense", 0], site.start(NoDefense(), 0)[1])
    assert len({tuple(state) for state in seen.values()}) == 1, "a file keeps no order, draws go by it"
    cells = pd.read_parquet(run / "cells.parquet")
    assert cells["after_rounds"].tolist() == [0] * 3 + [2] * 3 + [3] * 3
    assert cells["id"].is_unique


def test_in_a_federation_they_are_those_of_one_that_ends_there(data, tmp_path, seen, engine):
    import tiny_job

    tables = tiny_site.plan(data, attack=ONE, audit={"after_rounds": [1, 3]}, **FEDERATION)
    audit(tables, tmp_path)
    plan = make_plan(tables)
    for job in federated_jobs(plan, open_site(plan, torch.device("cpu")).fingerprint).values():
        for rounds in (1, 3):
            [short] = tiny_job.run(replace(job, federation=replace(job.federation, rounds=rounds), kept=()))
            equal(seen[type(job.defense).__name__, rounds], short.state)
    assert sum(map(len, engine)) == 2
    audit(tables | {"audit": {**tables["audit"], "after_rounds": [3]}}, tmp_path)
    assert sum(map(len, engine)) == 2, "what is there is not trained again"
    audit(tables | {"audit": {**tables["audit"], "after_rounds": [2]}}, tmp_path)
    assert sum(map(len, engine)) == 4, "weights that were not kept have to be made"
    assert len(list(tmp_path.glob("parts/*/state-2.safetensors"))) == 2


MEMORY = {"name": "top-k", "keep": 0.2}


@pytest.fixture
def helped(monkeypatch):
    """What the client of every cell had kept, by rounds, and what the attacker was shown."""
    from leakward.auditing import bench

    found, real = {}, bench.attack_victims

    def spy(plan, site, part, cell, defense, start, *rest):
        found[cell.after_rounds] = start[2]
        return real(plan, site, part, cell, defense, start, *rest)

    monkeypatch.setattr(bench, "attack_victims", spy)
    return found


def test_the_client_goes_on_with_what_it_has_kept(data, tmp_path, helped):
    tables = tiny_site.plan(
        data, attack=ONE, defense=[MEMORY], audit={"after_rounds": [0, 1, 2]}, utility={"epochs": 2}
    )
    audit(tables, tmp_path)
    plan = make_plan(tables)
    trained = train(plan, open_site(plan, torch.device("cpu")), plan.defenses[1], 0, lambda _: None)
    assert helped.pop(0) is None
    for epochs, private in helped.items():
        equal(private, trained.private[epochs])
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(scores)


def test_in_a_federation_too(data, tmp_path, helped, engine):
    import tiny_job

    from leakward.training import helpers

    federation = FEDERATION | {"data": {"clients": 2, "shares": [8, 16]}, "defense": [MEMORY]}
    tables = tiny_site.plan(data, attack=ONE, audit={"after_rounds": [1, 3], "client": 1, "victims": 2}, **federation)
    audit(tables, tmp_path / "run")
    bare, with_helpers = (job for jobs in engine for job in jobs)
    assert (bool(bare.helpers), bool(with_helpers.helpers)) == (False, True)
    tiny_job.run(replace(with_helpers, helpers=str(tmp_path)))
    for rounds in (1, 3):
        equal(helped[rounds], helpers.read(tmp_path, rounds, 1))
    audit(tables, tmp_path / "run")
    assert sum(map(len, engine)) == 2, "they are part of the training"
    assert not list((tmp_path / "run" / "parts").glob(".part-*"))


def test_the_reader_of_classes_is_trained_to_the_end(data, tmp_path):
    tables = tiny_site.plan(data, attack=ONE, audit={"after_rounds": [1]}, utility={"epochs": 3})
    run = audit(tables, tmp_path)
    early = next(iter(run.glob("parts/*/state-1.safetensors")))
    assert any((load_file(early)[n] != v).any() for n, v in load_file(early.with_name("state.safetensors")).items())


def test_without_training_there_is_no_later_round(data):
    with pytest.raises(PlanError, match=r"\[audit\] after_rounds: expected at most 0"):
        make_plan(tiny_site.plan(data, audit={"after_rounds": [1]}, utility={"epochs": 0}))
