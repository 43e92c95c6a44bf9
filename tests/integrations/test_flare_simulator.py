"""The example in FLARE's simulator: what sites record is what the server gets, and what they withhold it never sees."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leakward.live import Ledger
from leakward.threat import load_capture

HERE = Path(__file__).parent
SITES, ROUNDS = ("site-1", "site-2"), range(3)

pytestmark = pytest.mark.slow


def simulated(kind: str, folder: Path) -> Path:
    paths = os.pathsep.join([str(HERE.parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, HERE / "flare_job.py", kind, folder],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def entries(folder: Path):
    return Ledger(folder / "leakward" / "ledger.jsonl").entries()


def capture(folder: Path, site: str, number: int):
    return load_capture(folder / "leakward" / f"clinic-{site}" / "captures" / f"{number + 1:06d}")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated("guarded", tmp_path_factory.mktemp("guarded"))


@pytest.fixture(scope="module")
def withheld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated("one-withholds", tmp_path_factory.mktemp("withheld"))


def test_captures_are_what_the_server_received(guarded):
    mean = capture(guarded, "site-1", 0).state
    for number in ROUNDS:
        files = {site: guarded / "received" / f"{site}-{number}.safetensors" for site in SITES}
        weights = {site: load_file(file) for site, file in files.items() if file.exists()}
        for site in SITES:
            seen = capture(guarded, site, number)
            for name, value in seen.update.tensors.items():
                torch.testing.assert_close(seen.state[name], mean[name])
                assert site not in weights or torch.equal(value, seen.state[name] - weights[site][name])
        if weights:
            mean = {name: sum(own[name] for own in weights.values()) / len(weights) for name in mean}


def test_defended_updates_pass_the_gate_and_are_entered(guarded):
    found = entries(guarded)
    assert sorted((entry.client, entry.round) for entry in found) == [
        (f"clinic-{site}", number) for site in SITES for number in ROUNDS
    ]
    sent = {f"{entry.client.removeprefix('clinic-')}-{entry.round}" for entry in found if entry.sent}
    assert sent == {path.stem for path in (guarded / "received").iterdir()}
    assert len(sent) >= 5  # each of six is withheld by chance once in ninety times
    for entry in found:
        assert entry.sent == (entry.reason == "the attack identified 0% of the images, without a defence 100%")
        assert (entry.images, entry.unprotected, entry.defense["name"]) == (1, False, "gaussian-noise")


def test_a_capture_can_be_attacked(guarded, leakward, tmp_path):
    path = guarded / "leakward" / "clinic-site-2" / "captures" / "000003"
    code, _, _ = leakward("attack", path, "--attack", "dlg", "--set", "evaluations=5", "--out", tmp_path)
    assert code == 0
    assert load_file(tmp_path / "reconstruction.safetensors")["images"].shape == (1, 3, 16, 16)


def test_of_a_site_that_withholds_the_server_gets_nothing_and_goes_on_with_the_other(withheld):
    found = {site: [entry for entry in entries(withheld) if entry.client.endswith(site)] for site in SITES}
    assert [(entry.round, entry.sent, entry.identified) for entry in found["site-1"]] == [
        (number, False, 1.0) for number in ROUNDS
    ]
    assert [(entry.round, entry.sent) for entry in found["site-2"]] == [(number, True) for number in ROUNDS]
    received = sorted(path.stem for path in (withheld / "received").iterdir())
    assert received == [f"site-2-{number}" for number in ROUNDS]
    for number in ROUNDS[1:]:
        before = load_file(withheld / "received" / f"site-2-{number - 1}.safetensors")
        for name, value in capture(withheld, "site-2", number).state.items():
            torch.testing.assert_close(value, before[name])
