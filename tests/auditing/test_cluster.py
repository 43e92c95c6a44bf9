"""An audit on a Ray cluster of several nodes, one of which dies; and what is said where there is no cluster."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import tiny_site
import tomli_w

from leakward.auditing import audit, cluster
from leakward.errors import LeakwardError

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs leakward[flower]")
SMALL = ("--block", "--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0")
LONG = 400
"""Seconds after which a test gives up waiting."""


def until(met):
    deadline = time.monotonic() + LONG
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Node:
    """One node of a cluster: a process with all that it starts."""

    def __init__(self, log, *arguments):
        ray = Path(sys.executable).with_name("ray")
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [ray, "start", *arguments, *SMALL],
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, stdout=file, stderr=file,
            )  # fmt: skip
        until(lambda: "Ray runtime started" in log.read_text())

    def family(self):
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def at_work(self):
        try:
            return any("ray::_make_part" in word for one in self.family() for word in one.cmdline())
        except psutil.NoSuchProcess:
            return False

    def kill(self):
        if self.process.poll() is None:
            every = self.family()
            for one in every:
                one.kill()
            self.process.wait()
            psutil.wait_procs(every)


@pytest.fixture
def nodes():
    """A head that works at nothing, and two nodes of one core; in a folder with a short name, for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="lw-", ignore_cleanup_errors=True) as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        logs = [Path(folder) / f"{name}.log" for name in ("head", "one", "two")]
        head = ("--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={folder}", "--include-dashboard=false")
        made = [Node(logs[0], *head)]
        try:
            made += [Node(log, f"--address=127.0.0.1:{port}", "--num-cpus=1") for log in logs[1:]]
            yield f"127.0.0.1:{port}", *made[1:]
        finally:
            for node in reversed(made):
                node.kill()


def cells(run):
    return len([*run.glob("parts/[!.]*/cell.json")])


def driver(plan, folder, run, *options):
    (folder / f"{run}.toml").write_text(tomli_w.dumps(plan))
    command = [sys.executable, "-m", "leakward", "audit", f"{run}.toml", "--out", run, *options]
    return subprocess.Popen(command, cwd=folder, text=True, stderr=subprocess.PIPE)


@needs_ray
@pytest.mark.slow
def test_a_node_that_dies_costs_no_part(data, tmp_path, nodes):
    address, one, other = nodes
    attack = [{"name": "inverting-gradients", "iterations": steps} for steps in (200, 300)]
    plan, run = tiny_site.plan(data, attack=attack), tmp_path / "run"
    with driver(plan, tmp_path, "run", "--ray", address) as process:
        until(lambda: cells(run) and one.at_work())
        one.kill()
        left = cells(run)
        told = process.stderr.read().splitlines()
    assert process.returncode == 0, told
    assert left < cells(run) == 6
    assert other.process.poll() is None
    assert all(line[:4].endswith("%") for line in told), f"somebody else had something to say: {told}"
    with driver(plan, tmp_path, "alone") as process:
        assert process.wait(LONG) == 0
    tiny_site.same(run, tmp_path / "alone")


@needs_ray
@pytest.mark.slow
def test_ctrl_c_stops_the_nodes_and_an_error_of_theirs_is_one_sentence(tmp_path, nodes):
    address, *workers = nodes
    data = tiny_site.npz(tmp_path / "tiny.npz")
    plan = tiny_site.plan(data, attack=[{"name": "inverting-gradients", "iterations": 100_000}])
    with driver(plan, tmp_path, "stopped", "--ray", address) as process:
        until(lambda: len([*tmp_path.glob("stopped/parts/*/training.json")]) == 2 and workers[0].at_work())
        process.send_signal(signal.SIGINT)
        told = process.stderr.read().splitlines()
    assert (process.returncode, told[-1]) == (130, "stopped; the same command goes on where it stopped")
    until(lambda: not any(node.at_work() for node in workers))
    with driver(plan, tmp_path, "wrong", "--ray", address) as process:
        until((tmp_path / "wrong" / "plan.json").exists)
        data.unlink()  # which this audit has read by now, and the nodes have not
        told = process.stderr.read().splitlines()
    assert process.returncode == 1
    assert told[-1].startswith(f"error: data '{data}': expected one of")


@needs_ray
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("local", "--ray local: expected a cluster that runs; leave --ray out"),
        ("nonsense", "--ray nonsense: expected the address of a Ray cluster of this version, got: "),
        ("127.0.0.1:1", "--ray 127.0.0.1:1: expected the address of a Ray cluster of this version, got: "),
    ],
)
def test_what_is_no_cluster_is_refused_and_nothing_is_lost(data, finished, tmp_path, address, said):
    with pytest.raises(LeakwardError) as caught:
        audit(tiny_site.plan(data), tmp_path, ray=address)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1
    tiny_site.same(audit(tiny_site.plan(data), tmp_path), finished)


def test_without_ray_it_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(LeakwardError, match=r"expected Ray, which is not installed; install leakward\[flower\]"):
        audit(tiny_site.plan(data), tmp_path, ray="auto")


@needs_ray
def test_a_finished_audit_needs_no_cluster(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    tiny_site.same(audit(tiny_site.plan(data), tmp_path / "run", ray="nonsense"), finished)
