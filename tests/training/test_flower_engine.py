"""The real engine: the smoke test trains what the apps train without it; the rest takes its time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import on_engine
import pytest
import torch
from tiny_job import job, run
from torch.testing import assert_close

from leakward.errors import LeakwardError
from leakward.training.engine import train


def trained(case, data):
    """Train in the folder of the data, which has a relative name, beside a cluster that is none of its business."""
    own = {"PYTHONPATH": str(Path(__file__).parent), "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, on_engine.__file__, case, data.name],
        cwd=data.parent, env=os.environ | own, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "terminate failed" not in done.stderr  # Ray would then end the process now and then
    return json.loads(done.stdout.splitlines()[-1])


def test_jobs_on_the_engine_are_those_without_it(data):
    found = trained("two", data)
    for one, other in zip(found["jobs"], run(*on_engine.two(data)), strict=True):
        assert_close({name: torch.tensor(value) for name, value in one["state"].items()}, other.state)
        assert [done["scores"] for done in one["rounds"]] == [vars(done.scores) for done in other.rounds]
        assert [done["traffic"]["bytes_up"] for done in one["rounds"]] == [r.traffic.bytes_up for r in other.rounds]
    assert [place for place, _, _ in found["heard"]] == sorted(place for place, _, _ in found["heard"])
    assert "round 2 of 2, accuracy" in found["heard"][-1][1]


@pytest.mark.slow
def test_a_process_that_dies_loses_one_client_and_no_more(data):
    [found] = trained("dying", data)["jobs"]
    counts = [(done["traffic"]["clients"], done["traffic"]["lost"]) for done in found["rounds"]]
    assert counts == [(6, 1), (6, 1)]


@pytest.mark.slow
def test_an_error_of_all_clients_ends_the_run_with_one_sentence(data):
    assert "got demands for proximal-mu; choose another" in trained("refused", data)["error"]


def test_without_flower_it_says_what_to_install(data, monkeypatch):
    monkeypatch.setattr("leakward.training.engine.find_spec", lambda name: None)
    with pytest.raises(LeakwardError, match=r"install leakward\[flower\]"):
        train([job(data)], lambda *_: None, lambda *_: None)
