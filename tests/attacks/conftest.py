"""Small victims for every attack.

Nothing here imports leakward at module level: the shape checker of the test run has to be installed first.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

Victims = Callable[..., list[Any]]


@pytest.fixture(scope="package", autouse=True)
def single_thread() -> Iterator[None]:
    """On tensors as small as these, threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def victims() -> Victims:
    """Observe rounds on random images of 8 pixels: ``victims(2, "mlp", hidden=8)``.

    Given an active ``attack``, the client trains the model which that sends out.
    """
    from leakward.federated import LocalTraining, NoDefense, agreed_recipe, run_round
    from leakward.models import TaskSpec, build_task, initial_state
    from leakward.threat import ThreatModel, observe
    from leakward.types import Batch, generator

    def make(count, model, *, recipe=None, defense=None, threat=None, spec=None, attack=None, **options):
        defense = defense or NoDefense()
        recipe = agreed_recipe(recipe or LocalTraining(), defense)
        task = build_task(TaskSpec(model, (3, 8, 8), 4, options, **(spec or {})))
        (task, state), public = defense.install(task, initial_state(task, generator(7)), generator(8)), None
        if threat is not None and threat.public:
            public = Batch(torch.rand(24, 3, 8, 8, generator=generator(50)), torch.arange(24) % 4)
        if attack is not None:
            task, state = attack.plant(task, state, public, generator(60))
        found = []
        for i in range(count):
            rng, size = generator(100 + i), recipe.batch_images
            batch = Batch(torch.rand(size, 3, 8, 8, generator=rng), (torch.arange(size) + i) % 4)
            round_ = run_round(task, state, batch, recipe, defense, rng)
            found.append(observe(round_, threat or ThreatModel(), public))
        return found

    return make
