"""BatchNorm as a pure function against PyTorch's layers, in both modes."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from leakward.errors import ModelError
from leakward.models.batchnorm import PureBatchNorm, replace_batchnorm
from leakward.types import generator

LAYERS = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]
SHAPES = [
    (nn.BatchNorm1d, (5, 3)),
    (nn.BatchNorm1d, (2, 3, 4)),
    (nn.BatchNorm2d, (5, 3, 4, 6)),
    (nn.BatchNorm2d, (1, 3, 4, 6)),
    (nn.BatchNorm2d, (1, 3, 1, 2)),
    (nn.BatchNorm2d, (4, 3, 1, 1)),
    (nn.BatchNorm3d, (2, 3, 2, 2, 3)),
]


def twins(kind, **options):
    """A layer with values unlike those of a new one, and the pure layer made from its copy."""
    rng = generator(0)

    def draw():
        return 0.5 + torch.rand(3, generator=rng, dtype=torch.float64)

    values = {"weight": draw(), "bias": draw(), "running_mean": draw(), "running_var": draw()}
    values["num_batches_tracked"] = torch.tensor(4)
    layers = [kind(3, **options).double() for _ in range(2)]
    for layer in layers:
        layer.load_state_dict(values)
    return layers[0], PureBatchNorm(layers[1])


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "eps": 0.1}, {"momentum": 0.0}])
@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_values_gradients_and_statistics_are_those_of_torch(kind, shape, options, mode):
    expected, pure = twins(kind, **options)
    expected.train(mode == "train")
    pure.train(mode == "train")
    for seed in range(2):  # the second pass starts from the statistics of the first
        x = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
        results = []
        for layer in (expected, pure):
            leaf = x.clone().requires_grad_()
            out = layer(leaf)
            grads = torch.autograd.grad(out.square().mean() + out.sin().sum(), [leaf, layer.weight, layer.bias])
            results.append((out, grads))
        assert_close(results[1], results[0], rtol=1e-9, atol=1e-11)
        assert_close(dict(pure.state_dict()), dict(expected.state_dict()), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm2d, (1, 3, 1, 1)), (nn.BatchNorm1d, (1, 3))])
def test_a_single_value_per_channel_is_refused_in_train_mode_as_torch_does(kind, shape):
    expected, pure = twins(kind)
    x = torch.ones(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        expected.train()(x)
    with pytest.raises(ModelError, match=r"train mode: expected more than one value per channel, got .*\(1, 3.*'eval'"):
        pure.train()(x)
    assert_close(pure.eval()(x), expected.eval()(x))


def test_given_statistics_are_handed_back_and_not_written():
    _, pure = twins(nn.BatchNorm2d)
    own = {name: value.clone() for name, value in pure.state_dict().items()}
    given = {name: value + 1 for name, value in own.items()}
    tensors = dict(given)
    functional_call(pure.train(), tensors, (torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=generator(0)),))
    assert_close(dict(pure.state_dict()), own, rtol=0, atol=0)
    assert all(torch.equal(given[name], own[name] + 1) for name in own)
    assert tensors["num_batches_tracked"] == given["num_batches_tracked"] + 1
    assert not torch.equal(tensors["running_mean"], given["running_mean"])


def test_every_layer_is_replaced_under_its_name():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), nn.BatchNorm2d(3))
    before = dict(model.state_dict())
    replace_batchnorm(model)
    assert [type(layer) for layer in (model[1][0], model[2])] == [PureBatchNorm, PureBatchNorm]
    assert isinstance(model[0], nn.Conv2d)
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}, {"momentum": None}])
@pytest.mark.parametrize("kind", LAYERS)
def test_other_settings_are_refused_by_name(kind, options):
    model = nn.Sequential(nn.ReLU(), nn.Sequential(kind(3, **options)))
    with pytest.raises(ModelError, match=r"layer '1\.0': expected BatchNorm with affine=True, .*build the model with"):
        replace_batchnorm(model)


class Activated(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


def test_a_layer_that_does_more_is_refused():
    with pytest.raises(ModelError, match=r"layer '0': expected torch\.nn\.BatchNorm1d, 2d or 3d, got Activated"):
        replace_batchnorm(nn.Sequential(Activated(3)))
