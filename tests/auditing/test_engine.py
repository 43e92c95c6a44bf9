"""An audit of a tiny site: what it writes, that it is the same twice, and that nothing breaks it."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny_site
import torch
from safetensors.torch import load_file

from leakward.attacks import Reconstruction, Status
from leakward.attacks.analytic_linear import AnalyticLinear
from leakward.auditing import audit, make_plan
from leakward.auditing.plan import plain
from leakward.errors import DataError, LeakwardError
from leakward.metrics import METRICS
from leakward.report import build_report

ONE = [{"name": "analytic-linear"}]
OFF = {"epochs": 0}


def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_the_tables_have_the_columns_others_rely_on(finished):
    cells, scores, utility = (pq.read_table(finished / f"{n}.parquet") for n in ("cells", "scores", "utility"))
    factors = ["data", "model", "attack", "defense", "knowledge", "recipe", "seed", "after_rounds", "server"]
    assert cells.column_names == ["id", *factors, "status", "victims", "seconds", "class_f1", "members"]
    assert scores.column_names == ["cell", "victim", "metric", "value"]
    assert {"defense", "seed", "round", "accuracy", "f1_macro", "rounds", "clients"} <= {*utility.column_names}


def test_every_cell_has_one_row_and_every_image_one_score_per_measure(finished):
    cells, scores, _ = tiny_site.tables(finished)
    assert list(cells["defense"]) == ["none"] * 2 + ["gaussian-noise(std=0.1)"] * 4
    assert list(cells["knowledge"]) == ["aware"] * 2 + ["unaware"] * 2 + ["aware"] * 2
    assert set(cells["status"]) == {"ok"}
    assert set(cells["victims"]) == {4}
    assert (pd.read_parquet(finished / "cells.parquet")["seconds"] > 0).all()
    assert cells["id"].is_unique
    assert cells["class_f1"].between(0, 1).all()
    counts = scores.groupby(["cell", "metric"])["victim"].agg(["count", "nunique"])
    assert (counts == 4).all(axis=None)
    measured = {name for name in METRICS if not name.startswith(("lpips", "rdlv", "k_iip")) and "side" not in name}
    assert all(set(own["metric"]) == measured for _, own in scores.groupby("cell"))
    assert set(scores["cell"]) == set(cells["id"])
    assert scores["value"].map(lambda value: value == value).all()


def test_the_summary_says_what_was_found(finished):
    found = summary(finished)
    assert {"schema", "verdict", "cells", "utility", "controls"} <= set(found)
    assert set(found["controls"]) == {"positive", "negative", "consistency"}
    assert all(control["passed"] is True for control in found["controls"].values())
    assert set(found["cells"][0]["metrics"]["psnr"]) == {"mean", "low", "high", "worst"}
    assert [row["defense"] for row in found["utility"]] == ["none", "gaussian-noise(std=0.1)"]
    assert [row["defense"] for row in found["defenses"]] == ["none", "gaussian-noise(std=0.1)"]
    undefended = found["defenses"][0]
    assert undefended["verdict"]["status"] == "leaks"
    assert undefended["levels"]["aware"]["identified"]["mean"] == 1.0
    assert found["verdict"]["worst"]["defense"] == "gaussian-noise(std=0.1)"
    assert found["verdict"]["worst"]["victims"] == 4
    assert found["verdict"]["worst"]["chance"] == 1 / 32


def test_the_exact_attack_reads_the_images_off_an_undefended_update(finished):
    cells, scores, _ = tiny_site.tables(finished)
    exact = cells[(cells["attack"] == "analytic-linear") & (cells["defense"] == "none")]["id"].item()
    own = scores[scores["cell"] == exact].set_index("metric")["value"]
    assert own["psnr"].min() > 80
    assert (own["identified"] == 1).all()
    assert (own["label_recovered"] == 1).all()
    pictures = load_file(finished / "parts" / exact / "images.safetensors")
    assert pictures["originals"].shape == (4, 1, 12, 12)
    assert torch.equal(pictures["originals"], pictures["reconstructions"])


def test_the_summary_takes_the_worst_case_per_image_over_attacks(finished):
    cells, scores, _ = tiny_site.tables(finished)
    joined = scores.merge(cells, left_on="cell", right_on="id")
    own = joined[(joined["defense"] != "none") & (joined["knowledge"] == "aware")]
    levels = summary(finished)["defenses"][1]["levels"]["aware"]
    for metric, best in (("ssim", "max"), ("mse", "min"), ("rank", "min")):
        per_image = own[own["metric"] == metric].groupby("victim")["value"].agg(best)
        assert levels[metric]["mean"] == pytest.approx(per_image.mean(), abs=1e-6)
        assert levels[metric]["worst"] == pytest.approx(per_image.agg(best), abs=1e-6)


def test_the_plan_is_kept_whole(finished, data):
    kept = json.loads((finished / "plan.json").read_text())
    assert make_plan(kept["plan"]) == make_plan(tiny_site.plan(data))
    assert kept["facts"]["finished"]
    assert kept["facts"]["data"]["shape"] == [1, 12, 12]
    assert sorted(p.name for p in finished.iterdir()) == [
        "cells.parquet", "parts", "plan.json", "scores.parquet", "summary.json", "utility.parquet"
    ]  # fmt: skip


def test_a_second_run_gives_identical_tables(finished, data, tmp_path):
    again = audit(tiny_site.plan(data), tmp_path / "again")
    tiny_site.same(again, finished)
    assert summary(again)["verdict"] == summary(finished)["verdict"]
    assert summary(again)["controls"] == summary(finished)["controls"]


def test_progress_rises_from_0_to_1(data, tmp_path):
    seen = []
    audit(tiny_site.plan(data), tmp_path, progress=lambda what, fraction: seen.append((fraction, what)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert {"training with none", "analytic-linear on none, aware", "done"} <= {what for _, what in seen}


def test_seeds_bring_other_victims_and_weights(data, tmp_path):
    tables = tiny_site.plan(data, audit={"seeds": [0, 1]}, attack=ONE, defense=[], utility=OFF)
    cells, scores, _ = tiny_site.tables(audit(tables, tmp_path))
    assert list(cells["seed"]) == [0, 1]
    images = [load_file(tmp_path / "parts" / part / "images.safetensors")["originals"] for part in cells["id"]]
    assert not torch.equal(*images)
    assert summary(tmp_path)["defenses"][0]["victims"] == 8
    assert summary(tmp_path)["defenses"][0]["updates"] == 8
    assert "class_recovered" not in set(scores["metric"]), "there is no trained classifier"


def test_utility_off_leaves_an_empty_table(data, tmp_path):
    tables = tiny_site.plan(data, attack=ONE, defense=[], utility=OFF)
    _, _, utility = tiny_site.tables(audit(tables, tmp_path))
    assert utility.empty
    assert summary(tmp_path)["utility"] == []
    assert summary(tmp_path)["defenses"][0]["accuracy"] is None


RECIPES = [
    ({"batch_images": 2}, "gradient, 2 images, eval mode"),
    ({"share": "update", "batch_images": 2, "epochs": 2, "minibatch": 1}, "update of 4 steps, 2 images, eval mode"),
]


@pytest.mark.parametrize(("recipe", "named"), RECIPES)
def test_batches_and_local_training(data, tmp_path, recipe, named):
    attack = [{"name": "inverting-gradients", "iterations": 3}]
    tables = tiny_site.plan(data, recipe=recipe, attack=attack, defense=[], utility=OFF, audit={"victims": 3})
    cells, scores, _ = tiny_site.tables(audit(tables, tmp_path))
    assert list(cells["recipe"]) == [named]
    assert list(cells["victims"]) == [6]
    assert sorted(scores["victim"].unique()) == list(range(6))
    assert summary(tmp_path)["defenses"][0]["updates"] == 3


def test_pictures_are_those_that_were_scored(data, tmp_path):
    """An attacker returns the images of a batch in any order; they are shown beside the ones they are matched to."""
    tables = tiny_site.plan(data, recipe={"batch_images": 4}, defense=[], utility=OFF, audit={"victims": 3})
    tables["attack"] = [{"name": "inverting-gradients", "iterations": 2}]
    _, scores, _ = tiny_site.tables(audit(tables, tmp_path))
    pictures = load_file(next(tmp_path.glob("parts/*/images.safetensors")))
    apart = (pictures["originals"].double() - pictures["reconstructions"].double()) / 255
    mse = scores[scores["metric"] == "mse"].set_index("victim")["value"].sort_index()
    assert list(mse.index) == list(range(12))
    assert torch.allclose(torch.tensor(mse.to_numpy()), apart.square().mean((1, 2, 3)), atol=0.005)


def test_under_secure_aggregation_an_update_is_that_of_several_clients(data, tmp_path):
    made = tiny_site.plan(data, audit={"aggregated_clients": 2}, recipe={"batch_images": 2}, utility=OFF)
    made["attack"] = [{"name": "inverting-gradients", "iterations": 2}]
    audit(made, tmp_path / "run")
    cells, scores, _ = tiny_site.tables(tmp_path / "run")
    assert set(cells["recipe"]) == {"gradient, 2 images, eval mode, mean of 2 clients"}
    assert set(cells["victims"]) == {16}
    assert set(scores["victim"]) == set(range(16))


def test_granted_labels_are_right_by_definition(data, tmp_path):
    attack = [{"name": "inverting-gradients", "iterations": 1}]
    tables = tiny_site.plan(data, attack=attack, defense=[], utility=OFF, audit={"labels": "granted"})
    _, scores, _ = tiny_site.tables(audit(tables, tmp_path))
    assert (scores[scores["metric"] == "label_recovered"]["value"] == 1).all()


def test_without_images_no_picture_is_kept_not_even_of_an_earlier_run(data, tmp_path):
    def pictures():
        return sorted(tmp_path.glob("parts/*/images.safetensors"))

    tables = tiny_site.plan(data, attack=ONE, defense=[], utility=OFF)
    audit(tables, tmp_path)
    before, kept = tiny_site.tables(tmp_path), pictures()
    assert len(kept) == 1
    tables["audit"]["images"] = False
    audit(tables, tmp_path)
    assert pictures() == []
    tables["audit"]["images"] = True
    audit(tables, tmp_path)
    assert pictures() == kept
    for one, two in zip(tiny_site.tables(tmp_path), before, strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_an_attack_that_does_not_apply_is_a_row_and_the_report_is_built(data, tmp_path):
    tables = tiny_site.plan(data, model={"name": "lenet", "channels": 2, "hidden": None}, attack=ONE, utility=OFF)
    del tables["model"]["hidden"]
    cells, scores, _ = tiny_site.tables(audit(tables, tmp_path))
    assert set(cells["status"]) == {"not-applicable"}
    assert scores.empty
    verdict = summary(tmp_path)["verdict"]
    assert (verdict["status"], verdict["worst"]) == ("inconclusive", {})
    assert summary(tmp_path)["controls"]["positive"]["passed"] is False
    assert build_report(tmp_path).is_file()


def test_an_attack_that_fails_for_one_victim_is_said_to(data, tmp_path, monkeypatch):
    honest = AnalyticLinear.attack

    def faulty(self, observations, rng, progress):
        found = honest(self, observations, rng, progress)
        return [Reconstruction(None, None, float("inf"), Status.NON_FINITE), *found[1:]]

    monkeypatch.setattr(AnalyticLinear, "attack", faulty)
    tables = tiny_site.plan(data, attack=ONE, defense=[], utility=OFF)
    cells, scores, _ = tiny_site.tables(audit(tables, tmp_path))
    assert list(cells["status"]) == ["3 of 4 ok"]
    assert sorted(scores["victim"].unique()) == [1, 2, 3]
    pictures = load_file(next(tmp_path.glob("parts/*/images.safetensors")))
    assert not pictures["reconstructions"][0].any()
    assert torch.equal(pictures["reconstructions"][1:], pictures["originals"][1:])


def test_a_plan_may_be_an_object_or_tables(data, tmp_path):
    tables = tiny_site.plan(data, attack=ONE, defense=[], utility=OFF)
    plan = make_plan(tables)
    tiny_site.same(audit(plan, tmp_path / "object"), audit(plain(plan), str(tmp_path / "tables")))


def test_a_site_with_too_few_different_images_is_refused(data, tmp_path):
    tables = tiny_site.plan(data, data={"site_images": 64}, audit={"victims": 60})
    with pytest.raises(DataError, match="expected at least 60 different images at the site"):
        audit(tables, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_part_is_named(data, tmp_path):
    tables = tiny_site.plan(data, attack=ONE, defense=[], utility=OFF)
    audit(tables, tmp_path)
    next(tmp_path.glob("parts/*/cell.json")).write_text("{")
    with pytest.raises(LeakwardError, match=r"cell\.json: expected what an audit wrote.*delete .* and run again"):
        audit(tables, tmp_path)
    assert not (tmp_path / "summary.json").exists(), "an old summary would vouch for tables that are not its own"
