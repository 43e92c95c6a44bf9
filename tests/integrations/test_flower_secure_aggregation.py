"""Under secure aggregation a site still sees what it sends, which the server does not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import secure_aggregation
import torch

from leakward.live import Ledger
from leakward.threat import load_capture

SITE = """
[site]
name = "clinic"

[task]
model = "mlp"
input_shape = [1, 12, 12]
num_classes = 2
options = { hidden = 8 }

[recipe]
share = "update"
batch_images = 2
"""
CLIENTS, ROUNDS = (0, 1, 2), (1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What came of two rounds, in which the gate of the last client lets nothing go."""
    folder = tmp_path_factory.mktemp("federation")
    for part in CLIENTS:
        (folder / f"{part}.toml").write_text(SITE + ("[gate]" if part == 2 else ""), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, secure_aggregation.__file__, str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


def client(folder, name, part, number):
    with np.load(folder / "clients" / f"{name}-{part}-{number}.npz") as kept:
        return [torch.from_numpy(kept[key]).float() for key in kept.files]  # the server's means are in double precision


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("part", CLIENTS)
def test_the_capture_is_the_update_of_the_client(folder, part, number):
    before, after = (client(folder, name, part, number) for name in ("before", "after"))
    seen = load_capture(folder / "leakward" / f"clinic-{part}" / "captures" / f"00000{number}")
    assert [*seen.update.tensors] == [*secure_aggregation.START]
    for found, old, new in zip(seen.update.tensors.values(), before, after, strict=True):
        torch.testing.assert_close(found, old - new, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("number", ROUNDS)
def test_what_the_server_receives_is_masked(folder, number):
    received = sorted((folder / "server").glob(f"{number}-*.npz"))
    assert len(received) == 2
    for file in received:
        with np.load(file) as kept:
            assert kept["named"] == 0
            vector = np.concatenate([kept[f"arr_{place}"].ravel() for place in range(1, 5)]).astype(float)
        for part in CLIENTS:
            sent = np.concatenate([value.numpy().ravel() for value in client(folder, "after", part, number)])
            assert abs(np.corrcoef(vector, sent)[0, 1]) < 0.15


@pytest.mark.slow
def test_a_client_that_is_withheld_is_one_that_dropped_out(folder):
    ledger = Ledger(folder / "leakward" / "ledger.jsonl")
    for part in CLIENTS:
        entries = [(entry.round, entry.sent) for entry in ledger.entries(f"clinic-{part}")]
        assert entries == [(number, part != 2) for number in ROUNDS]
    mean = [
        torch.stack(pair).mean(0) for pair in zip(*(client(folder, "after", part, 1) for part in (0, 1)), strict=True)
    ]
    for found, expected in zip(client(folder, "before", 0, 2), mean, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert len([*(folder / "server").glob("*.error")]) == len(ROUNDS)
