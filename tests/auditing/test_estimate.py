"""What an audit will take is measured, written down, and set beside what it took."""

import json

import pandas as pd
import pytest
import tiny_site
import torch

from leakward import pace
from leakward.attacks import GradInversion, InvertingGradients, LearningToInvert
from leakward.auditing import audit, estimate, make_plan
from leakward.auditing.site import open_site
from leakward.errors import LeakwardError
from leakward.pace import measured
from leakward.report import build_report
from leakward.threat import ThreatModel, observe
from leakward.types import generator


def files(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_every_kind_of_part_is_counted_for_all_seeds_and_times(data, tmp_path):
    plan = tiny_site.plan(data, audit={"seeds": [0, 1], "after_rounds": [0, 1]})
    told = []
    found = estimate(plan, tmp_path, progress=lambda *news: told.append(news))
    kinds = [(one.kind, one.defense, one.attack, one.knowledge, one.parts) for one in found.forecasts]
    noise, attacks = "gaussian-noise(std=0.1)", ("analytic-linear", "inverting-gradients(iterations=3)")
    assert kinds == [
        ("training", "none", "", "", 2),
        ("training", noise, "", "", 2),
        *(("cell", "none", attack, "aware", 4) for attack in attacks),
        *(("cell", noise, attack, level, 4) for level in ("unaware", "aware") for attack in attacks),
    ]
    assert [one.evaluations for one in found.forecasts] == [0, 0, 0, 48, 0, 48, 0, 48]
    assert all(one.seconds > 0 and one.mib > 50 for one in found.forecasts)
    assert found.seconds == pytest.approx(sum(one.seconds for one in found.forecasts))
    assert max(one.seconds / one.parts for one in found.forecasts) < found.wait <= found.seconds
    fractions = [fraction for _, fraction in told]
    assert (fractions, fractions[0], told[-1]) == (sorted(fractions), 0, ("done", 1.0))
    assert files(tmp_path).keys() == {tmp_path / "estimate.json"}


def test_it_changes_nothing_of_a_run_and_the_report_says_how_well_it_did(data, tmp_path):
    plan = tiny_site.plan(data)
    audit(plan, tmp_path)
    before = files(tmp_path)
    assert "were predicted" not in build_report(tmp_path).read_text()
    (tmp_path / "report.html").unlink()
    found = estimate(make_plan(plan), tmp_path)
    kept = json.loads((tmp_path / "estimate.json").read_text())
    assert (kept["seconds"], len(kept["forecasts"])) == (found.seconds, 8)
    assert {path: text for path, text in files(tmp_path).items() if path.name != "estimate.json"} == before
    page = build_report(tmp_path).read_text()
    seconds = sum(one.seconds for one in found.forecasts if one.kind == "cell")
    taken = pd.read_parquet(tmp_path / "cells.parquet")["seconds"].sum()
    assert f"predicted to take {seconds:.0f} seconds of computing, and took {taken:.0f} seconds; each attack" in page
    estimate(tiny_site.plan(data, attack=[{"name": "analytic-linear"}]), tmp_path)
    assert "were predicted" not in build_report(tmp_path).read_text(), "that was of another plan"
    (tmp_path / "estimate.json").write_text("{}")
    with pytest.raises(LeakwardError, match=r"estimate\.json: expected the files of a leakward audit"):
        build_report(tmp_path)


SEARCHES = [
    (InvertingGradients(iterations=8, restarts=2), 4 * 2 * 8),
    (GradInversion(iterations=8, restarts=2), 4 * 2 * 8),
    (LearningToInvert(iterations=8, simulated=320), 320),
]


@pytest.mark.parametrize(("attack", "evaluations"), SEARCHES, ids=lambda value: type(value).__name__)
def test_evaluations_are_foretold_from_two_steps_of_each_loop(data, attack, evaluations, monkeypatch):
    monkeypatch.setattr(pace, "ENOUGH", 0.0)
    plan = make_plan(tiny_site.plan(data))
    site = open_site(plan, torch.device("cpu"))
    public, start = site.public(100), site.start(plan.defenses[0], 0)
    rounds = site.rounds(plan, plan.defenses[0], 0, *start, None)
    threat = ThreatModel("aware", labels=True, public=True)
    with measured() as found:
        attack.recover([observe(round_, threat, public) for round_ in rounds], generator(0))
    assert found.evaluations == pytest.approx(evaluations)


def test_a_federation_is_measured_by_one_client(data, tmp_path):
    recipe = {"share": "update", "minibatch": 8, "learning_rate": 0.1}
    defenses = [{"name": "larger-batches", "batch_images": 8}]
    plan = tiny_site.plan(data, data={"clients": 3}, recipe=recipe, federation={"rounds": 4}, audit={"victims": 2})
    plan["defense"] = defenses
    one, other = (f for f in estimate(plan, tmp_path / "one").forecasts if f.kind == "training")
    assert (one.defense, other.defense.partition("(")[0]) == ("none", "larger-batches")
    assert min(one.seconds, other.seconds) > 0
