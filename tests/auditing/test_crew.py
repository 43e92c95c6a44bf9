"""Who makes a part does not matter: an audit with helpers ends with the tables of one that worked alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_site
import torch

from leakward.auditing import audit, crew
from leakward.errors import LeakwardError

LONG = 240
"""Seconds after which a test gives up waiting."""


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Room for one helper, which comes at once."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(crew, "PATIENCE", 0.0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    assert helpers() == [], "a helper outlived its audit"


def helpers(process=None):
    return [child for child in (process or psutil.Process()).children() if _is_helper(child)]


def _is_helper(process):
    try:
        return any("leakward.auditing.helper" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def parts(run):
    return {part.name for part in run.glob("parts/[!.]*") if part.is_dir()}


def until(met):
    deadline = time.monotonic() + LONG
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_helper_makes_is_what_this_process_would_have_made(data, finished, tmp_path):
    """This process holds one training, and then one cell, until the helper has made all others."""
    rest = {"training with none": 1, "analytic-linear on none, aware": 7}

    def hold(what, fraction):
        until(lambda: len(parts(tmp_path)) >= rest.get(what, 0))

    threads = torch.get_num_threads()
    audit(tiny_site.plan(data), tmp_path, progress=hold)
    tiny_site.same(tmp_path, finished)
    assert torch.get_num_threads() == threads


def test_a_helper_that_dies_costs_no_part(data, finished, tmp_path):
    killed = []

    def kill(what, fraction):
        if what.startswith("analytic-linear on none") and not killed:
            until(lambda: len(parts(tmp_path)) > 3)  # so there is one, and it is at work
            [helper] = helpers()
            helper.kill()
            killed.append(helper)

    audit(tiny_site.plan(data), tmp_path, progress=kill)
    assert killed
    tiny_site.same(tmp_path, finished)


def test_an_error_of_a_helper_is_one_sentence_here(tmp_path):
    data = tiny_site.npz(tmp_path / "data.npz")

    def change(what, fraction):
        until(helpers)
        with np.load(data) as arrays:
            turned = {name: array[::-1] for name, array in arrays.items()}
        np.savez(data, **turned)
        until(lambda: not helpers())

    with pytest.raises(LeakwardError, match=r"expected the data .* that the audit began with, found others"):
        audit(tiny_site.plan(data), tmp_path / "run", progress=change)


def test_a_small_audit_starts_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", LONG)
    monkeypatch.setattr(crew._Crew, "_start", lambda _: pytest.fail("a helper was started"))
    begin = time.monotonic()
    audit(tiny_site.plan(data), tmp_path)
    assert time.monotonic() - begin < LONG, "it waited for its own patience"


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_helpers_end_with_the_audit_which_goes_on_later(data, finished, tmp_path, end):
    plan = tiny_site.plan(data)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("waiting.py")), "plan.json", "run"],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "2"}, start_new_session=True, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        until(lambda: parts(tmp_path / "run"))
        own = helpers(psutil.Process(process.pid))
        assert len(own) == 1
        os.killpg(process.pid, end) if end == signal.SIGINT else process.kill()
        psutil.wait_procs(own, timeout=LONG)
        assert not any(helper.is_running() for helper in own)
        assert "KeyboardInterrupt" in process.stderr.read() or end == signal.SIGKILL
    kept = parts(tmp_path / "run")
    audit(plan, tmp_path / "run")
    assert kept < parts(tmp_path / "run")
    tiny_site.same(tmp_path / "run", finished)
