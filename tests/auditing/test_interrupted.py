"""An audit that was killed goes on where it stopped and ends with the tables of one that was not."""

import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import tiny_site

from leakward.auditing import audit

EXACT = [{"name": "analytic-linear"}]


def tables(data, attack=EXACT):
    defenses = [{"name": "gaussian-noise", "std": std} for std in (0.1, 1.0)]
    return tiny_site.plan(data, attack=attack, defense=defenses, audit={"victims": 2, "knowledge": ["aware"]})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_many_moments_it_ends_with_the_tables_of_an_audit_that_was_not(data, tmp_path):
    plan = tables(data, [*EXACT, {"name": "inverting-gradients", "iterations": 6}])
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    rng = random.Random(0)
    moments = [f"{parts}:{rng.uniform(0, 0.2):.3f}" for parts in (0, 1, 2, 3, 4, 6, 7, 8)]
    script, run = Path(__file__).with_name("killing.py"), tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "plan.json"), str(run), *moments],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(r["killed"] for r in rounds)
    assert len(rounds[-1]["parts"]) >= 8
    rounds.append({"parts": {p.name: p.stat().st_mtime_ns for p in run.glob("parts/[!.]*") if p.is_dir()}})
    for before, after in pairwise(rounds):
        assert before["parts"].items() <= after["parts"].items(), "a finished part was made again"
    assert len(rounds[-1]["parts"]) == 9
    assert list(run.glob("parts/.part-*")) == []
    fresh = tmp_path / "fresh"
    code = (
        "import sys, json, torch; from leakward.auditing import audit; torch.set_num_threads(1); audit(*sys.argv[1:])"
    )
    code = code.replace("audit(*sys.argv[1:])", "audit(json.load(open(sys.argv[1])), sys.argv[2])")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "plan.json"), str(fresh)], env=environment, check=True)
    tiny_site.same(run, fresh)
    names = ("verdict", "defenses", "controls", "utility", "limits", "threat")
    one, two = (json.loads((folder / "summary.json").read_text()) for folder in (run, fresh))
    assert {name: one[name] for name in names} == {name: two[name] for name in names}


def test_finished_parts_are_not_computed_again(data, tmp_path, monkeypatch):
    plan = tables(data)
    audit(plan, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("parts/*/*")}
    table = (tmp_path / "cells.parquet").read_bytes()

    def again(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr("leakward.auditing.bench.attack_victims", again)
    monkeypatch.setattr("leakward.auditing.trainings.train", again)
    audit(plan, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("parts/*/*")} == before
    assert (tmp_path / "cells.parquet").read_bytes() == table, "not even the seconds change"


def test_a_half_written_part_is_not_taken_for_a_whole_one(data, tmp_path):
    plan = tiny_site.plan(data, attack=EXACT, defense=[], utility={"epochs": 0})
    whole, torn = audit(plan, tmp_path / "whole"), tmp_path / "torn"
    half = torn / "parts" / ".part-x7"
    half.mkdir(parents=True)
    part = next(p for p in (whole / "parts").iterdir() if p.is_dir())
    (half / "cell.json").write_bytes((part / "cell.json").read_bytes()[:100])
    audit(plan, torn)
    assert not half.exists()
    tiny_site.same(torn, whole)


def test_an_error_midway_leaves_finished_parts_and_no_summary(data, tmp_path, monkeypatch):
    plan = tables(data)
    audit(plan, tmp_path)
    bigger = {**plan, "defense": [*plan["defense"], {"name": "pruning"}]}

    def stop(what, fraction):
        if "pruning" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(bigger, tmp_path, progress=stop)
    assert not (tmp_path / "summary.json").exists(), "it would vouch for tables of another plan"
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("parts/*/*")}
    audit(bigger, tmp_path)
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.glob("parts/*/*")}.items()
    tiny_site.same(tmp_path, audit(bigger, tmp_path.with_name("fresh")))
