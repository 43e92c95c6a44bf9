"""A site with a network whose updates give images away, and a client that trained on one of them."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

SITE = """
[site]
name = "clinic-a"

[task]
model = "cnn6"
input_shape = [1, 16, 16]
num_classes = 4
options = { width = 4 }

[recipe]
share = "update"
learning_rate = 0.05
"""
GATE = """
[gate]
attack = { name = "gaussian-prior", iterations = 60 }
seconds = 120
"""


class Trained(NamedTuple):
    """What a client was sent, what it made of it, and on what."""

    before: Any
    after: Any
    batch: Any


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A site that records and does not judge."""
    path = tmp_path / "site.toml"
    path.write_text(SITE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained() -> Trained:
    """One local step on one image of blobs, at a site of forty."""
    from leakward.data import load_data
    from leakward.federated import LocalTraining, NoDefense, run_round
    from leakward.live import PrivateBatch
    from leakward.models import TaskSpec, build_task, initial_state
    from leakward.types import Batch, generator

    images, labels = load_data("phantom", size=16, count=400).subset("train")
    images, labels = images[:, :1], labels % 4
    batch = PrivateBatch(Batch(images[:1], labels[:1]), Batch(images[1:40], labels[1:40]))
    task = build_task(TaskSpec("cnn6", (1, 16, 16), 4, {"width": 4}))
    state = initial_state(task, generator(0))
    recipe = LocalTraining("update", learning_rate=0.05)
    round_ = run_round(task, state, batch.batch, recipe, NoDefense(), generator(1))
    after = state | {name: state[name] - change for name, change in round_.update.tensors.items()}
    return Trained(state, after, batch)
