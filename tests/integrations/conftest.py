"""A small client with BatchNorm, and what it does in a round.

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


@pytest.fixture(scope="session")
def client() -> Client:
    """Four images of 28 pixels and the paper's network, 32 times narrower."""
    from leakward.models import TaskSpec, build_task, initial_state
    from leakward.types import generator

    task, rng = build_task(TaskSpec("convnet", (3, 28, 28), 4, {"width": 2})), generator(7)
    images = torch.rand(4, 3, 28, 28, generator=rng)
    return Client(task, initial_state(task, rng), images, torch.arange(4))
