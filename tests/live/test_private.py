"""The batch of a round at the site: handed over, taken once, and readable by its owner alone."""

import stat
from pathlib import Path

import pytest
import torch

from leakward.errors import CaptureError
from leakward.live import PrivateBatch, keep_private_batch, load_private_batch
from leakward.live.private import claim
from leakward.types import Batch


def batch(images=None, labels=None, others=None):
    some = torch.full((2, 1, 4, 4), 0.5)
    return PrivateBatch(
        Batch(some if images is None else images, torch.arange(2) if labels is None else labels),
        Batch(some if others is None else others, torch.arange(2)),
    )


def test_a_batch_is_taken_once(tmp_path: Path):
    keep_private_batch(tmp_path / "private", batch())
    path = claim(tmp_path / "private", "000001")
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = load_private_batch(path)
    assert torch.equal(found.batch.images, batch().batch.images)
    assert found.others.labels.tolist() == [0, 1]
    assert claim(tmp_path / "private", "000002") is None


@pytest.mark.parametrize(
    "parts",
    [
        {"images": torch.full((2, 1, 4, 4), 1.5)},
        {"images": torch.full((2, 1, 4, 4), float("nan"))},
        {"images": torch.zeros(0, 1, 4, 4), "labels": torch.arange(0)},
        {"others": torch.zeros(2, 1, 5, 5)},
    ],
)
def test_what_is_no_batch_is_refused(parts):
    with pytest.raises(CaptureError, match="private batch: expected"):
        batch(**parts)


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"\xff" * 100])
def test_what_is_no_file_of_a_batch_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "000001.safetensors"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match="that Leakward wrote"):
        load_private_batch(path)
