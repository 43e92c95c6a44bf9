"""The network of the first gradient inversion paper."""

import pytest
import torch
from torch import nn

from leakward.errors import ModelError
from leakward.models import TaskSpec, build_task, initial_state
from leakward.models.lenet import lenet
from leakward.types import generator


def test_layers_of_the_paper():
    """768 inputs of the linear layer at 32 pixels, as in the authors' code."""
    model = lenet((3, 32, 32), 10)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size, m.padding, m.stride) for m in convolutions] == [
        (12, (5, 5), (2, 2), (2, 2)),
        (12, (5, 5), (2, 2), (2, 2)),
        (12, (5, 5), (2, 2), (1, 1)),
    ]
    assert sum(isinstance(m, nn.Sigmoid) for m in model.modules()) == 3
    assert model.predictor[1].in_features == 768


@pytest.mark.parametrize(("pixels", "features"), [(28, 588), (27, 588), (30, 768)])
def test_linear_layer_fits_any_size(pixels, features):
    model = lenet((1, pixels, pixels), 10)
    assert model.predictor[1].in_features == features
    assert model(torch.zeros(2, 1, pixels, pixels)).shape == (2, 10)


def test_every_tensor_is_uniform_on_half():
    task = build_task(TaskSpec("lenet", (3, 32, 32), 10))
    state = initial_state(task, generator(0))
    assert all(value.abs().max() <= 0.5 for value in state.values())
    values = torch.cat([value.flatten() for value in state.values()])
    quartiles = values.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert torch.allclose(quartiles, torch.tensor([-0.5, -0.25, 0.0, 0.25, 0.5]), atol=0.02)
    assert state["encoder.0.bias"].abs().max() > 0.2  # PyTorch's own bound is 0.115


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ({"channels": 16, "convolutions": 6, "halving": 0, "kernel": 2}, 40_000),
        ({"convolutions": 4}, 768),
        ({"convolutions": 1, "halving": 1, "kernel": 7}, 12 * 15 * 15),
    ],
)
def test_relatives_have_other_convolutions(options, features):
    model = lenet((3, 32, 32), 2, **options)
    assert model.predictor[1].in_features == features
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize(
    "options", [{"convolutions": 0}, {"halving": 4}, {"halving": -1}, {"kernel": 0}, {"channels": 0}, {"kernel": 37}]
)
def test_what_cannot_be_built_is_refused(options):
    with pytest.raises(ModelError, match="lenet: expected"):
        lenet((3, 32, 32), 2, **options)
