"""A small client for every defence.

Nothing here imports leakward at module level: the shape checker of the test run has to be installed first.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def single_thread() -> Iterator[None]:
    """On tensors as small as these, threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.fixture(scope="session")
def batchnorm() -> Client:
    """Four images of 6 pixels and a split network with BatchNorm."""
    from leakward.models import TaskSpec, build_task
    from leakward.types import generator

    rng = generator(5)
    task = build_task(TaskSpec("split_network:build", (3, 6, 6), 4))
    state = {
        name: torch.randn(value.shape, generator=rng) * 0.2 if value.ndim > 1 else value.clone()
        for name, value in task.model.state_dict().items()
    }
    return Client(task, state, torch.rand(4, 3, 6, 6, generator=rng), torch.arange(4))
