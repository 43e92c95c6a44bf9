"""The example for Flower, deployed: a SuperLink, two SuperNodes, and what comes of three rounds and then of two."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from loopback import Loopback, loopback, processes_of
from safetensors.torch import load_file

from leakward.live import Ledger
from leakward.threat import load_capture

EXAMPLE = Path(__file__).parents[2] / "examples" / "flower"
KEEPING = '''
"""The server of the example, which also keeps what it receives."""

import os
from pathlib import Path

from flwr.serverapp.strategy import FedAvg
from safetensors.torch import save_file

from clinics import server_app


class Keeping(FedAvg):
    def aggregate_train(self, server_round, replies):
        replies = [*replies]
        for reply in replies:
            path = Path(os.environ["RECEIVED"]) / f"{server_round}-{reply.metadata.src_node_id}"
            if reply.has_error():
                path.with_suffix(".error").write_text(reply.error.reason, encoding="utf-8")
            else:
                save_file(reply.content.array_records["arrays"].to_torch_state_dict(), path.with_suffix(".kept"))
        return super().aggregate_train(server_round, replies)


server_app.FedAvg = Keeping
app = server_app.app
'''
GATE = """
[gate]
attack = { name = "gaussian-prior", iterations = 200 }
"""


class Federation(NamedTuple):
    """The app, the folder of what its server receives, and that of each site."""

    engine: Loopback
    app: Path
    received: Path
    sites: tuple[Path, Path]

    def run(self, rounds: int) -> str:
        """Run the app, and keep what this run receives apart from what an earlier one did."""
        shutil.rmtree(self.received, ignore_errors=True)
        self.received.mkdir()
        return self.engine.run(self.app, "--run-config", f"num-server-rounds={rounds}")


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    here = tmp_path_factory.mktemp("flower")
    app, sites = here / "app", (here / "site-0", here / "site-1")
    shutil.copytree(EXAMPLE, app, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    (app / "clinics" / "keeping.py").write_text(KEEPING, encoding="utf-8")
    project = app / "pyproject.toml"
    project.write_text(project.read_text().replace("clinics.server_app:app", "clinics.keeping:app"))
    for folder in sites:
        folder.mkdir()
        shutil.copy(EXAMPLE / "site.toml", folder)
    nodes = [f'leakward-site="{f}/site.toml" partition-id={part} num-partitions=2' for part, f in enumerate(sites)]
    with loopback(here / "home", nodes, RECEIVED=str(here / "received")) as engine:
        yield Federation(engine, app, here / "received", sites)
    assert not processes_of(here / "home")


def client(federation: Federation, part: int) -> Path:
    return federation.sites[part] / "runs" / f"clinic-{part}"


def entries(federation: Federation, part: int):
    return Ledger(federation.sites[part] / "runs" / "ledger.jsonl").entries(f"clinic-{part}")


def weights(federation: Federation, number: int):
    return [load_file(path) for path in sorted(federation.received.glob(f"{number}-*.kept"))]


@pytest.mark.slow
def test_captures_are_what_the_server_receives(federation, leakward):
    federation.run(3)
    for number in (1, 2, 3):
        received = weights(federation, number)
        assert len(received) == 2
        for part in (0, 1):
            seen = load_capture(client(federation, part) / "captures" / f"00000{number}")
            sent = {name: seen.state[name] - change for name, change in seen.update.tensors.items()}
            distances = [max(float((sent[n] - value).abs().max()) for n, value in one.items()) for one in received]
            assert sorted(distance < 1e-6 for distance in distances) == [False, True]
    assert [(entry.round, entry.sent, entry.images) for entry in entries(federation, 0)] == [
        (1, True, 1),
        (2, True, 1),
        (3, True, 1),
    ]
    told = ("--attack", "gaussian-prior", "--public", "phantom", "--set", "iterations=200")
    truth = client(federation, 0) / "private" / "000001.safetensors"
    capture = client(federation, 0) / "captures" / "000001"
    code, out, _ = leakward("attack", capture, *told, "--out", federation.received / "attack", "--truth", truth)
    assert code == 0
    assert "identified: 1 of 1 among 120 images of the site" in out


@pytest.mark.slow
def test_where_one_site_withholds_the_others_go_on(federation):
    with (federation.sites[0] / "site.toml").open("a", encoding="utf-8") as file:
        file.write(GATE)
    printed = federation.run(2)
    assert "Received 1 results and 1 failures" in printed
    withheld = entries(federation, 0)[-2:]
    assert [(entry.round, entry.sent, entry.identified) for entry in withheld] == [(1, False, 1.0), (2, False, 1.0)]
    assert [(entry.round, entry.sent) for entry in entries(federation, 1)[-2:]] == [(1, True), (2, True)]
    told = {path.read_text() for path in federation.received.glob("*.error")}
    assert told == {"leakward: the site withholds the update of this round; its log and its ledger say why"}
    assert all(len(weights(federation, number)) == 1 for number in (1, 2))
    [kept] = weights(federation, 1)
    after = load_capture(client(federation, 1) / "captures" / f"00000{len(entries(federation, 1))}").state
    for name, value in kept.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    log = (federation.engine.home / "flower-supernode.log").read_text()
    assert re.search("clinic-0, round 1 withheld: the attack identified 100% of the images", log)
