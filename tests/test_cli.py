"""The command line: what it says, what it writes, and how it ends."""

import json
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from leakward import cli, registry
from leakward.errors import LeakwardError

PLAN = """
[data]
site_images = 16

[model]
name = "mlp"
hidden = 32

[audit]
victims = 4

[utility]
epochs = 0

[[attack]]
name = "analytic-linear"

[[attack]]
name = "inverting-gradients"
iterations = 2
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with a plan and data."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 20), ("val", 5), ("test", 5)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 12, 12), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    np.savez("data.npz", **arrays)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


PICTURE = '<img src="data:image/png'

AUDIT = ("audit", "plan.toml", "--data", "data.npz", "--out", "run")


def test_an_audit_from_plan_to_report(here, leakward):
    code, out, err = leakward(*AUDIT, "--set", "attack.1.iterations=1", "--set", "audit.confidence=0.9")
    assert code == 0
    assert "verdict: leaks - Without a defence: 4 of 4 images identified among 16" in out
    assert f"report: {'run/report.html'}" in out
    assert "100% done" in err
    kept = json.loads((here / "run" / "plan.json").read_text())["plan"]
    assert kept["attack"][1]["iterations"] == 1
    assert kept["audit"]["confidence"] == 0.9
    assert kept["data"]["name"] == "data.npz"
    before = (here / "run" / "report.html").read_text()
    (here / "run" / "report.html").unlink()
    code, out, _ = leakward("report", "run")
    assert code == 0
    assert (here / "run" / "report.html").read_text() == before
    code, _, _ = leakward("report", "run", "--no-images")
    assert code == 0
    assert PICTURE in before
    assert PICTURE not in (here / "run" / "report.html").read_text()


def test_an_estimate_runs_nothing(here, leakward):
    code, out, err = leakward(*AUDIT, "--estimate")
    assert code == 0
    assert "inverting-gradients(iterations=2) on none, aware" in out
    assert "minutes of computing" in out
    assert "measuring" in err
    assert listing(here / "run") == ["estimate.json", "parts"]


def test_the_gate(here, leakward):
    exact = ("--set", 'attack=[{name="analytic-linear"}]')
    code, out, _ = leakward(*AUDIT, *exact, "--fail-on", "leak")
    assert (code, "verdict: leaks" in out) == (cli.LEAKS, True)
    assert cli.LEAKS == 3
    assert (here / "run" / "report.html").is_file()
    code, out, _ = leakward(
        *AUDIT, *exact, "--set", "audit.victims=1", "--set", "recipe.batch_images=2", "--fail-on", "leak"
    )
    assert (code, "verdict: inconclusive" in out) == (0, True)


def test_no_images_keeps_them_out_of_the_folder_and_the_report(here, leakward):
    code, _, _ = leakward(*AUDIT, "--no-images")
    assert code == 0
    assert list(here.glob("run/parts/*/images.safetensors")) == []
    assert PICTURE not in (here / "run" / "report.html").read_text()


USAGE = [
    ("audit", "--fail-on", "smoke"),
    ("audit", "--nonsense"),
    ("audit", "--estimate", "--ray", "auto"),
    ("list", "attack"),
    ("list",),
    ("nonsense",),
    ("attack",),
    ("attack", "x", "--seed", "one"),
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_usage_errors_end_with_2(here, leakward, arguments):
    before = listing(here)
    code, _, err = leakward(*arguments)
    assert code == 2
    assert "Usage" in err
    assert "Traceback" not in err
    assert listing(here) == before


WRONG = [
    (("audit", "none.toml"), "plan none.toml: expected a readable file"),
    (("audit", "data.npz"), "plan data.npz: expected TOML"),
    ((*AUDIT, "--set", "attack.0.name=dgl"), "[[attack]] 1: unknown name 'dgl'; allowed: analytic-linear, "),
    ((*AUDIT, "--set", "audit.victims=many"), "[audit] victims: "),
    ((*AUDIT, "--set", "attack.1.iterations=-1"), "iterations=-1: expected a whole number of at least 1"),
    ((*AUDIT, "--set", "attack.7.iterations=1"), "expected a number from 0 to 1, got '7'"),
    ((*AUDIT, "--set", "attack.x.iterations=1"), "expected a number from 0 to 1, got 'x'"),
    ((*AUDIT, "--set", "attack.²=1"), "expected a key of one table"),
    ((*AUDIT, "--set", "attack.².x=1"), "expected a number from 0 to 1, got '²'"),
    ((*AUDIT, "--set", "attack.0=1"), "expected a key of one table"),
    ((*AUDIT, "--set", "audit.victims.more=1"), "'victims' is a value, not a table"),
    ((*AUDIT, "--set", "audit.victims"), "expected key=value"),
    ((*AUDIT, "--set", "=3"), "expected key=value"),
    ((*AUDIT, "--set", "data=3"), "[data]: expected a table, got 3"),
    ((*AUDIT, "--set", "audit=3"), "[audit]: expected a table, got 3"),
    ((*AUDIT, "--set", "defence.x=3"), "unknown table [defence]; allowed: attack, audit"),
    ((*AUDIT, "--set", "audit.victims=30"), "[audit] victims: expected at most 16 images in all, not 30"),
    ((*AUDIT, "--set", "audit.victims=24", "--set", "data.site_images=24"), "expected at least 24 different images"),
    ((*AUDIT, "--set", "model.name=resnet"), "[model] name: unknown name 'resnet'; allowed: cnn6, convnet"),
    ((*AUDIT, "--set", "model.width=3"), "model 'mlp' was called with options"),
    ((*AUDIT, "--set", "model.name=nowhere:net"), "model 'nowhere:net': expected package.module:factory"),
    ((*AUDIT, "--device", "tpu"), "--device tpu: expected cpu or cuda"),
    (("audit", "plan.toml", "--data", "none.npz", "--out", "run"), "data 'none.npz': expected one of"),
    (("audit", "plan.toml", "--data", "broken.npz", "--out", "run"), "broken.npz: expected a readable .npz"),
    (("audit", "plan.toml", "--data", "data.npz", "--out", "file"), "--out file: expected a folder to write to"),
    (("audit", "plan.toml", "--data", "data.npz", "--out", "file/run"), "--out file/run: expected a folder"),
    (("report", "nowhere"), "expected the file of a finished audit, got nothing there"),
    (("doctor", "nowhere"), "capture file nowhere/capture.json: expected readable JSON"),
    (("attack", "nowhere"), "capture file nowhere/capture.json: expected readable JSON"),
    (("attack", "nowhere", "--attack", "dgl"), "unknown name 'dgl' among attacks"),
    (("attack", "nowhere", "--set", "iterations=many"), "inverting-gradients iterations: "),
    (("attack", "nowhere", "--out", "file"), "--out file: expected a folder to write to, got a file"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_errors_are_one_sentence_and_nothing_is_written(here, leakward, arguments, words):
    (here / "file").write_text("mine")
    (here / "broken.npz").write_bytes((here / "data.npz").read_bytes()[:200])
    before = listing(here)
    code, out, err = leakward(*arguments)
    assert code == 1
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == (2 if "the plan has problems" in err else 1)
    assert out == ""
    assert listing(here) == before
    assert (here / "file").read_text() == "mine"


def test_every_problem_of_a_plan_is_reported_at_once(here, leakward):
    wrong = ("--set", "audit.victims=many", "--set", "attack.0.name=dgl", "--set", "recipe.share=all")
    code, _, err = leakward(*AUDIT, *wrong)
    assert code == 1
    assert len(err.strip().splitlines()) == 4


def test_a_network_of_ones_own(here, leakward, monkeypatch):
    (here / "own_networks.py").write_text(
        "from torch import nn\n"
        "def fits(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(144, classes))\n"
        "def five(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(144, 5))\n"
    )
    monkeypatch.syspath_prepend(here)
    (here / "plan.toml").write_text(PLAN.replace("hidden = 32\n", ""))
    code, _, err = leakward(*AUDIT, "--set", "model.name=own_networks:five")
    assert code == 1
    assert "expected 3 logits per image, got an output of shape (5,)" in err
    assert not (here / "run").exists()
    code, out, _ = leakward(*AUDIT, "--set", "model.name=own_networks:fits")
    assert code == 0
    assert "verdict: leaks" in out


def test_data_replaces_name_and_path_of_the_plan(here, leakward):
    (here / "plan.toml").write_text(PLAN.replace("[data]", '[data]\nname = "bloodmnist"\npath = "nowhere.npz"'))
    code, _, err = leakward(*AUDIT)
    assert (code, err.count("error")) == (0, 0)


def test_the_report_of_an_unfinished_run(here, leakward, monkeypatch):
    def stop(*arguments, **options):
        raise LeakwardError("stopped here")

    with monkeypatch.context() as patched:
        patched.setattr("leakward.auditing.bench.attack_victims", stop)
        assert leakward(*AUDIT)[0] == 1
    code, _, err = leakward("report", "run")
    assert code == 1
    assert "summary.json: expected the file of a finished audit, got nothing there" in err
    assert not (here / "run" / "report.html").exists()
    assert leakward(*AUDIT)[0] == 0


def test_ctrl_c_says_that_the_audit_goes_on(here, leakward, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("leakward.auditing.bench.attack_victims", interrupt)
        code, _, err = leakward(*AUDIT)
    assert code == 130
    assert "stopped; the same command goes on where it stopped" in err
    assert "Traceback" not in err
    assert leakward(*AUDIT)[0] == 0


@pytest.mark.parametrize("family", get_args(registry.Family))
def test_list_names_every_part_with_what_it_is(leakward, family):
    code, out, _ = leakward("list", family)
    assert code == 0
    rows = [line.split() for line in out.strip().splitlines()[1:]]
    assert {name for name in registry.BUILT_IN[family]} <= {row[0] for row in rows}
    assert all(len(row) > 2 for row in rows if row[0] in registry.names(family))
    assert out.count("holds:") == (len(registry.names(family)) if family == "attacks" else 0)


def test_python_m_leakward(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "leakward", "--help"], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("audit", "attack", "report", "list", "doctor"))
