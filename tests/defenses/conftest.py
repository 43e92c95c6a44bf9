"""A small client for every defence.

Nothing here imports leakward at module level: the shape checker of the test run has to be installed first.
"""

from typing import Any, NamedTuple

import pytest
import torch


class Client(NamedTuple):
    """What ``client_update`` takes first."""

    task: Any
    state: Any
    images: torch.Tensor
    labels: torch.Tensor


def make_client(model: str, side: int, images: int, **options: int) -> Client:
    """Return a client with random images of ``side`` pixels."""
    from leakward.models import TaskSpec, build_task, initial_state
    from leakward.types import generator

    task = build_task(TaskSpec(model, (3, side, side), 4, options))
    rng = generator(7)
    return Client(
        task,
        initial_state(task, rng),
        torch.rand(images, 3, side, side, generator=rng),
        torch.arange(images) % 4,
    )


@pytest.fixture(scope="session")
def lenet() -> Client:
    """Four images of 12 pixels and a LeNet with four channels."""
    return make_client("lenet", 12, 4, channels=4)


@pytest.fixture(scope="session")
def convnet() -> Client:
    """Two images of 28 pixels and the paper's network, 32 times narrower."""
    return make_client("convnet", 28, 2, width=2)
