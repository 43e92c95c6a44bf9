"""Rounds of small clients, and what is seen of them.

Nothing here imports leakward at module level: the shape checker of the test run has to be installed first.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

Rounds = Callable[..., Any]


@pytest.fixture(scope="package", autouse=True)
def single_thread() -> Iterator[None]:
    """On tensors as small as these, threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def rounds() -> Rounds:
    """Let a client train for one round on random images of 8 pixels: ``rounds("lenet", channels=2)``."""
    from leakward.federated import LocalTraining, NoDefense, agreed_recipe, run_round
    from leakward.models import TaskSpec, build_task, initial_state
    from leakward.types import Batch, generator

    def make(model="lenet", *, recipe=None, defense=None, seed=0, **options):
        options = options or ({"channels": 2} if model == "lenet" else {})
        defense, rng = defense or NoDefense(), generator(seed)
        recipe = agreed_recipe(recipe or LocalTraining(batch_images=2), defense)
        task = build_task(TaskSpec(model, (3, 8, 8), 4, options, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))
        size = recipe.batch_images
        batch = Batch(torch.rand(size, 3, 8, 8, generator=rng), torch.randint(4, (size,), generator=rng))
        task, state = defense.install(task, initial_state(task, generator(7)), generator(8))
        return run_round(task, state, batch, recipe, defense, rng)

    return make
