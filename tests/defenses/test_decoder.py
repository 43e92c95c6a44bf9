import copy
import math

import pytest
import torch
from torch import nn

from leakward.defenses import LearnablePerturbation, decoder
from leakward.models import TaskSpec, build_task
from leakward.tape import Tape
from leakward.types import generator


def kernels(network):
    return [layer.kernel_size for layer in network if isinstance(layer, nn.ConvTranspose2d)]


@pytest.mark.parametrize(("side", "latent", "last"), [(28, 9, 2), (32, 10, 4)])
def test_at_the_papers_sizes_it_is_table_1_with_the_last_kernels_swapped(side, latent, last):
    task = LearnablePerturbation().on_task(build_task(TaskSpec("convnet", (3, side, side), 8, {"width": 64})))
    assert tuple(task.latent.mean.shape) == (256, latent, latent)
    network = decoder.for_task(task)
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == [*["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 2, "ConvTranspose2d"]
    assert kernels(network) == [(3, 3), (4, 4), (last, last)]
    assert [(layer.in_channels, layer.out_channels) for layer in network if isinstance(layer, nn.ConvTranspose2d)] == [
        (256, 256), (256, 256), (256, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["lenet", "convnet"])
@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 32, 32), (1, 28, 28), (3, 9, 31), (3, 64, 45), (2, 17, 17)])
def test_what_comes_out_has_the_size_of_the_image(model, shape):
    options = {"width": 1} if model == "convnet" else {"channels": 2}
    task = LearnablePerturbation().on_task(build_task(TaskSpec(model, shape, 4, options)))
    network = decoder.for_task(task)
    private = decoder.start(network, Tape(generator(0)), torch.zeros(()))
    images = decoder.decode(network, private, torch.rand(2, *task.latent.mean.shape))
    assert images.shape == (2, *shape)


def test_the_weights_are_spread_as_pytorch_spreads_them():
    network = decoder.build((8, 9, 9), (3, 28, 28))
    weights, memory = decoder.unpack(decoder.start(network, Tape(generator(0)), torch.zeros(())))
    like = nn.Sequential(nn.ConvTranspose2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 8, 4))
    for name, theirs in like.named_parameters():
        ours = weights[name]
        assert ours.shape == theirs.shape
        if theirs.ndim > 1:
            bound = 1 / math.sqrt(theirs[0].numel())
            assert 0.98 * bound < float(ours.abs().max()) <= bound
            assert float(ours.std()) == pytest.approx(float(theirs.detach().std()), rel=0.1)
    assert memory.steps == 0
    assert weights.keys() == dict(network.named_parameters()).keys()


def test_packing_loses_nothing():
    network = decoder.build((2, 4, 4), (1, 12, 12))
    private = decoder.start(network, Tape(generator(0)), torch.zeros(()))
    again = decoder.pack(*decoder.unpack(private))
    assert again.keys() == private.keys()
    assert all(torch.equal(again[name], private[name]) for name in private)


def test_a_step_is_that_of_torch_adam():
    shape, latent = (1, 12, 12), torch.rand(3, 2, 4, 4, generator=generator(1))
    structure = decoder.build((2, 4, 4), shape)
    private = decoder.start(structure, Tape(generator(0)), torch.zeros(()))
    module = copy.deepcopy(structure).to_empty(device="cpu")
    module.load_state_dict(decoder.unpack(private)[0])
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        module(latent).square().mean().backward()
        optimizer.step()
        private = decoder.descend(structure, private, latent, lambda images: images.square().mean(), 1e-2)
    weights, memory = decoder.unpack(private)
    assert memory.steps == 3
    for name in weights.keys() - {"0.bias", "3.bias"}:  # BatchNorm cancels them: Adam divides rounding errors
        torch.testing.assert_close(weights[name], module.get_parameter(name).detach(), rtol=1e-3, atol=1e-5)
