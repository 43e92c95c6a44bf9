"""A federation's run folder; the engine is replaced by the same apps in this process."""

import json

import pandas as pd
import pytest
import tiny_site
from safetensors.torch import load_file

from leakward.defenses import DPSGD
from leakward.errors import DataError, DefenseError, PlanError
from leakward.training import sites

pytest.importorskip("flwr", reason="needs leakward[flower]")


def plan(data, **tables):
    recipe = {"share": "update", "minibatch": 8, "learning_rate": 0.1}
    made = tiny_site.plan(data, data={"clients": 2}, recipe=recipe, federation={"rounds": 2})
    return made | tables


def test_a_run_folder_has_every_round_of_every_defence_and_seed(data, tmp_path, engine):
    from leakward.auditing.federation import federate

    told = []
    run = federate(plan(data, audit={"seeds": [0, 1]}), tmp_path / "run", progress=lambda *news: told.append(news))
    rounds = pd.read_parquet(run / "rounds.parquet")
    assert rounds[["defense", "seed", "round"]].values.tolist() == [
        [defense, seed, number]
        for seed in (0, 1)
        for defense in ("none", "gaussian-noise(std=0.1)")
        for number in (1, 2)
    ]
    assert rounds[["accuracy", "f1_macro", "auc"]].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert (rounds[["bytes_down", "bytes_up", "seconds"]] > 0).all(axis=None)
    assert (rounds["clients"] == 2).all()
    summary = json.loads((run / "federated.json").read_text())
    assert [row["round"] for row in summary["trainings"]] == [2] * 4
    assert summary["plan"]["federation"]["strategy"] == "FedAvg"
    assert [fraction for _, fraction in told] == sorted(fraction for _, fraction in told)
    assert told[0][0] == "federation with none: training"
    assert told[-1] == ("done", 1.0)
    states = [load_file(file) for file in run.glob("parts/*/state.safetensors")]
    assert len(states) == 4


def test_what_is_trained_is_not_trained_again(data, tmp_path, engine):
    from leakward.auditing.federation import federate

    federate(plan(data, defense=[]), tmp_path)
    first = pd.read_parquet(tmp_path / "rounds.parquet")
    federate(plan(data), tmp_path)
    federate(plan(data), tmp_path)
    assert [[type(job.defense).__name__ for job in jobs] for jobs in engine] == [["NoDefense"], ["GaussianNoise"]]
    second = pd.read_parquet(tmp_path / "rounds.parquet")
    pd.testing.assert_frame_equal(second[second["defense"] == "none"], first)
    federate(plan(data, federation={"rounds": 1}), tmp_path)
    assert len(engine[-1]) == 2


def test_an_audit_takes_its_utility_from_the_federation(data, tmp_path, engine):
    from leakward.auditing import audit
    from leakward.auditing.federation import federate

    tables = plan(data, attack=[{"name": "analytic-linear"}], audit={"victims": 2})
    _, _, utility = tiny_site.tables(audit(tables, tmp_path))
    rounds = pd.read_parquet(federate(tables, tmp_path) / "rounds.parquet")
    assert len(engine) == 1, "the command finds what the audit has trained"
    columns = ["defense", "seed", "round", "accuracy", "f1_macro", "auc", "clients"]
    pd.testing.assert_frame_equal(utility[columns], rounds[columns])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(row["rounds"], row["clients"]) for row in summary["utility"]] == [(2, 2), (2, 2)]
    assert "Utility is that of 2 clients training together for 2 rounds." in summary["limits"]
    off = audit(tables | {"utility": {"epochs": 0}}, tmp_path / "off")
    assert len(engine) == 1
    assert json.loads((off / "summary.json").read_text())["utility"] == []


def test_a_plan_without_a_federation_is_refused(data, tmp_path, engine):
    from leakward.auditing.federation import federate

    with pytest.raises(PlanError, match=r"expected a table \[federation\]"):
        federate(tiny_site.plan(data), tmp_path / "run")
    assert engine == []


DP = {"name": "dp-sgd", "noise_multiplier": 3.0}


def test_epsilon_of_every_client_stands_beside_accuracy(data, tmp_path, engine):
    from leakward.auditing.federation import federate

    federation = {"rounds": 3, "images": 8, "fraction": 0.7}
    tables = plan(data, federation=federation, defense=[DP], utility={"delta": 1e-4})
    federate(tables | {"data": {"name": str(data), "clients": 3, "alpha": 0.5}}, tmp_path)
    own = pd.read_parquet(tmp_path / "clients.parquet")
    assert (own["defense"] == "dp-sgd(noise_multiplier=3.0)").all()
    assert own["client"].tolist() == [0, 1, 2]
    assert own["images"].sum() == 48
    assert (own["agreed"] == 8).all()
    assert (own["delta"] == 1e-4).all()
    for images, rounds, epsilon in zip(own["images"], own["rounds"], own["epsilon"], strict=True):
        assert epsilon == (DPSGD(noise_multiplier=3.0).guarantee(8 / images, rounds, 1e-4).epsilon if rounds else 0)
    none, defended = json.loads((tmp_path / "federated.json").read_text())["trainings"]
    assert none["epsilon"] is none["delta"] is None
    assert none["epsilon_of_clients"] == []
    assert [one["epsilon"] for one in defended["epsilon_of_clients"]] == own["epsilon"].tolist()
    assert (defended["epsilon"], defended["delta"]) == (own["epsilon"].max(), 1e-4)


def test_an_audit_states_the_epsilon_of_its_site(data, tmp_path, engine):
    from leakward.auditing import audit

    tables = plan(data, attack=[{"name": "analytic-linear"}], audit={"victims": 2}, defense=[DP])
    _, _, utility = tiny_site.tables(audit(tables, tmp_path))
    expected = DPSGD(noise_multiplier=3.0).guarantee(8 / 24, 2, 1e-5, steps=3)
    own = utility[utility["defense"] != "none"]
    assert own["epsilon"].tolist() == [expected.epsilon] * 2
    assert own["identified_bound"].tolist() == [expected.reconstruction_bound(1 / 24)] * 2
    assert utility[utility["defense"] == "none"][["epsilon", "identified_bound"]].isna().all(axis=None)
    [none, defended] = json.loads((tmp_path / "summary.json").read_text())["defenses"]
    assert (none["epsilon"], defended["epsilon"]) == (None, expected.epsilon)


def test_epsilon_is_computed_once_for_each_delta_and_trains_nothing_again(data, tmp_path, engine, monkeypatch):
    from leakward.auditing.federation import federate

    made = plan(data, federation={"rounds": 1}, defense=[DP])
    federate(made, tmp_path)
    first = pd.read_parquet(tmp_path / "clients.parquet")
    with monkeypatch.context() as patch:
        patch.setattr("leakward.auditing.proven.client_privacy", None)
        federate(made, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "clients.parquet"), first)
    federate(made | {"utility": {"delta": 1e-3}}, tmp_path)
    assert (pd.read_parquet(tmp_path / "clients.parquet")["epsilon"] < first["epsilon"]).all()
    assert len(engine) == 1


def test_a_training_that_diverges_is_a_result_of_the_audit(data, tmp_path, engine):
    noise = {"name": "gaussian-noise", "std": 1e38}
    made = plan(data, defense=[noise])
    from leakward.auditing import audit
    from leakward.report import build_report

    summary = json.loads((audit(made, tmp_path) / "summary.json").read_text())
    good, bad = summary["defenses"]
    assert (good["diverged"], bad["diverged"]) == (False, True)
    assert good["accuracy"] is not None
    assert bad["accuracy"] is None
    rounds = pd.read_parquet(tmp_path / "utility.parquet")
    assert rounds[rounds["defense"] != "none"]["accuracy"].isna().sum() == 1
    trained = len(engine)
    assert "diverged" in build_report(tmp_path).read_text()
    audit(made, tmp_path)
    assert len(engine) == trained


def test_updates_that_a_diverged_training_never_sent_are_cells_without_scores(data, tmp_path, engine):
    from leakward.auditing import audit

    made = plan(data, defense=[{"name": "gaussian-noise", "std": 1e38}])
    run = audit(made | {"audit": {**made["audit"], "after_rounds": [0, 2]}}, tmp_path)
    cells = pd.read_parquet(run / "cells.parquet")
    lost = cells[cells["status"] == "diverged"]
    assert set(lost["defense"]) == {"gaussian-noise(std=1e+38)"}
    assert set(lost["after_rounds"]) == {2}
    assert not set(lost["id"]) & set(pd.read_parquet(run / "scores.parquet")["cell"])


def test_without_a_model_an_audit_has_no_reader_of_classes_and_goes_on(data, tmp_path, engine):
    from leakward.auditing import audit
    from leakward.report import build_report

    recipe = {"share": "update", "minibatch": 8, "learning_rate": 1e38, "epochs": 3}
    run = audit(plan(data, recipe=recipe, defense=[]), tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["defenses"][0]["diverged"]
    assert summary["defenses"][0]["accuracy"] is None
    assert summary["verdict"]["status"] == "inconclusive"
    assert "diverged" in build_report(run).read_text()


def test_what_a_client_cannot_do_is_said_before_the_engine_starts(data, tmp_path, engine):
    from leakward.auditing import audit
    from leakward.auditing.federation import federate

    many = plan(data, defense=[{"name": "larger-batches", "batch_images": 25}], audit={"victims": 1})
    with pytest.raises(DefenseError, match="recipe: expected at least 25 images for a round, got 24"):
        federate(many, tmp_path)
    few = plan(data, defense=[{"name": "mixup"}], federation={"images": 9})
    few["recipe"]["batch_images"] = 2
    for run in (federate, audit):
        with pytest.raises(DefenseError, match="Mixup: expected at least 2 images in every local step, got 1"):
            run(few, tmp_path)
    assert engine == []


def test_what_is_wrong_is_said_before_the_engine_starts(data, tmp_path, engine, monkeypatch):
    from leakward.auditing.federation import federate

    wrong = {"rounds": 0, "fraction": 0.0, "images": -1, "timeout": 0.0}
    with pytest.raises(PlanError) as caught:
        federate(plan(data, federation=wrong), tmp_path / "run")
    assert all(f"{name}={value!r}: expected" in str(caught.value) for name, value in wrong.items())
    with pytest.raises(DataError, match="use fewer clients or more images"):
        federate(plan(data) | {"data": {"name": str(data), "clients": 99}}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert engine == []


def test_the_command(data, tmp_path, engine, leakward):
    (tmp_path / "plan.toml").write_text('[model]\nname = "mlp"\n[recipe]\nshare = "update"\n[federation]\nrounds = 2\n')
    options = ("--data", data, "--out", tmp_path / "run", "--set", "data.clients=2")
    code, out, err = leakward("federated", tmp_path / "plan.toml", *options)
    assert code == 0
    header, row = out.splitlines()[:2]
    assert header.split()[:4] == ["defence", "seed", "rounds", "accuracy"]
    assert row.split()[:3] == ["none", "0", "2"]
    assert header.split()[4:7] == ["F1", "AUC", "epsilon"]
    assert row.split()[6] == "none"
    assert "epsilon of one image" not in out
    assert row.split()[-1] == "0"
    assert f"rounds: {tmp_path / 'run' / 'rounds.parquet'}" in out
    assert "100% done" in err


def test_the_command_shows_the_epsilon_of_every_client(data, tmp_path, engine, leakward):
    tables = '[model]\nname = "mlp"\n[federation]\nrounds = 1\nimages = 6\n[[defense]]\nname = "dp-sgd"\n'
    (tmp_path / "plan.toml").write_text(tables)
    options = ("--data", data, "--out", tmp_path / "run", "--set", "data.clients=5")
    code, out, _ = leakward("federated", tmp_path / "plan.toml", *options)
    assert code == 0
    low, high = (f"{DPSGD().guarantee(6 / images, 1, 1e-5).epsilon:.3g}" for images in (10, 9))
    header, _, worst, title, each, _ = out.splitlines()
    assert worst.split()[6] == high
    assert "epsilon of one image of each client, at delta = 1e-05" in title
    assert sorted(each.split(maxsplit=2)[2].strip().split(", ")) == [low] * 3 + [high] * 2
    assert len(worst) <= len(header)


UNEQUAL = {"clients": 3, "shares": [8, 20, 4]}


@pytest.mark.parametrize("client", [0, 1])
def test_the_site_that_is_audited_is_a_client(data, client):
    import torch

    from leakward.auditing import make_plan
    from leakward.auditing.site import open_site
    from leakward.training import Job
    from leakward.training.client import Client

    federation = {"rounds": 2, "minibatches": [4, 5, 2]}
    made = make_plan(tiny_site.plan(data, data=UNEQUAL, audit={"victims": 2, "client": client}, federation=federation))
    site = open_site(made, torch.device("cpu"))
    own = Client(Job(made.data, made.model, made.recipe, made.defenses[0], made.federation), client)
    assert torch.equal(own.data.splits["train"], site.data.splits["train"])
    assert len(site.gallery) == UNEQUAL["shares"][client]
    assert made.agreed(made.defenses[0]).minibatch == own.recipe.minibatch == [4, 5][client]
    assert len(sites.shares(sites.load(made.data), made.data)) == 3


def test_audits_of_several_clients_share_the_trainings(data, tmp_path, engine):
    from leakward.auditing import audit

    tables = plan(data, attack=[{"name": "analytic-linear"}]) | {"data": {"name": str(data), **UNEQUAL}}
    for client, images in ((0, 1), (1, 2)):
        own = {"audit": {"victims": 2, "client": client, "after_rounds": [0, 2]}, "utility": {"epochs": 1}}
        own["recipe"] = {**tables["recipe"], "batch_images": images}
        audit(tables | own, tmp_path / str(client), trainings=tmp_path / "trained")
    assert len(engine) == 1
    cells = [pd.read_parquet(tmp_path / str(client) / "cells.parquet") for client in (0, 1)]
    assert not {*cells[0]["id"]} & {*cells[1]["id"]}
    assert len(list(tmp_path.glob("trained/parts/*/state.safetensors"))) == 2
    assert not list(tmp_path.glob("[01]/parts/*/state.safetensors"))
