import numpy as np
import pytest
import torch
from torch.func import vmap

from leakward.defenses import Pruning
from leakward.tape import Tape
from leakward.types import generator


def prune(value, ratio):
    return Pruning(ratio).on_update({"v": value}, {}, Tape())[0]["v"]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("entries", [1, 2, 7, 100, 1001])
def test_it_keeps_what_reaches_the_quantile(ratio, entries):
    value = torch.randn(entries, generator=generator(entries), dtype=torch.float64)
    size = value.abs().numpy()
    kept = size >= np.quantile(size, ratio) - 1e-12
    assert np.array_equal((prune(value, ratio) != 0).numpy(), kept)
    assert torch.equal(prune(value, ratio)[torch.from_numpy(kept)], value[torch.from_numpy(kept)])


def test_the_share_of_zeros_is_the_ratio_in_every_tensor():
    rng = generator(0)
    message = {"small": 1e-6 * torch.randn(40, 50, generator=rng), "large": 1e6 * torch.randn(3000, generator=rng)}
    for value in Pruning(0.8).on_update(message, {}, Tape())[0].values():
        assert float((value == 0).float().mean()) == pytest.approx(0.8, abs=1e-3)


def test_ties_and_silence_survive():
    assert torch.equal(prune(torch.ones(4), 0.8), torch.ones(4))
    assert torch.equal(prune(torch.zeros(4), 0.8), torch.zeros(4))


def test_it_is_the_same_under_vmap():
    values = torch.randn(3, 50, generator=generator(0))
    assert torch.equal(vmap(lambda v: prune(v, 0.7))(values), torch.stack([prune(v, 0.7) for v in values]))


def test_tensors_beyond_the_limit_of_torch_quantile_are_pruned():
    value = torch.zeros(2**24 + 8)
    value[:16] = 1
    assert int((prune(value, 0.9999995) != 0).sum()) == 16


def test_the_attacker_trusts_what_was_sent():
    message = {"v": torch.tensor([0.0, 2.0, 0.0, -1.0])}
    found = Pruning().evidence(message, 1)
    assert torch.equal(found.weight["v"], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert found.message is message
