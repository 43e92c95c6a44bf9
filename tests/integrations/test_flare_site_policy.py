"""A provisioned FLARE: what a site sets holds for jobs that say nothing of it, and for what jobs may bring along."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from leakward.live import Ledger
from leakward.threat import load_capture

HERE = Path(__file__).parent
PORTS = (8002, 8003)

pytestmark = pytest.mark.slow


def taken(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site that was given jobs; ``outcomes.json`` has what became of them."""
    if any(taken(port) for port in PORTS):
        pytest.skip("another FLARE runs on this machine")
    folder = tmp_path_factory.mktemp("site")
    own = {
        "HOME": str(folder),  # FLARE keeps the kits it made in mind there
        "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    script = [sys.executable, HERE / "flare_site_policy.py", folder]
    done = subprocess.run(script, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "outcomes.json").write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    return folder


def outcomes(site: Path) -> dict[str, str]:
    return json.loads((site / "outcomes.json").read_text(encoding="utf-8"))


def test_a_job_that_names_no_filter_is_defended_and_recorded(site):
    assert outcomes(site)["plain"].startswith("FINISHED:COMPLETED")
    found = Ledger(site / "leakward" / "ledger.jsonl").entries()[:2]
    assert [(entry.client, entry.round, entry.sent) for entry in found] == [
        ("clinic-site-1", number, True) for number in (0, 1)
    ]
    assert all(entry.defense == {"name": "clipping", "max_norm": 1e-3} for entry in found)
    for number in (1, 2):
        change = load_capture(site / "leakward" / "clinic-site-1" / "captures" / f"{number:06d}").update.tensors
        size = sum(float(value.square().sum()) for value in change.values()) ** 0.5
        assert size == pytest.approx(1e-3, rel=0.01)


def test_a_job_with_code_of_its_own_is_refused_where_the_site_forbids_it(site):
    assert outcomes(site)["own-code"].startswith("FINISHED:FAILED_TO_RUN")
    assert "BYOC not permitted" in outcomes(site)["own-code"]


def test_a_job_may_name_our_filters_once_the_site_lists_them(site):
    assert "COMPLETED" not in outcomes(site)["with-filter"]
    [console] = site.glob("poc/*/prod_00/site-1/poc_console.log")
    refused = r"'leakward\.integrations\.nvflare\.DefenseFilter' at config path '[^']+' is not in allow_list"
    assert re.search(refused, console.read_text(encoding="utf-8"))
    assert outcomes(site)["with-filter, allowed"].startswith("FINISHED:COMPLETED")
    assert len(Ledger(site / "leakward" / "ledger.jsonl").entries()) == 4
