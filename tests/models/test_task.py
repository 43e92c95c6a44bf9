"""What a task says of its network, and that it adds nothing but normalisation and latent noise."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from leakward.errors import ModelError
from leakward.models import LatentNoise, SplitModel, TaskSpec, build_task, initial_state
from leakward.types import generator

SHAPE = (2, 4, 4)


def headed(input_shape, num_classes, *, head="linear"):
    heads = {
        "linear": [nn.Linear(4, num_classes)],
        "no-bias": [nn.Linear(4, num_classes, bias=False)],
        "other-size": [nn.Linear(4, num_classes + 1), nn.AdaptiveAvgPool1d(num_classes)],
        "activated": [nn.Linear(4, num_classes), nn.Sigmoid()],
        "frozen": [nn.Linear(4, num_classes).requires_grad_(False)],
    }
    encoder = nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return SplitModel(encoder, nn.Sequential(*heads[head]))


def convolutional(input_shape, num_classes):
    return nn.Sequential(nn.Conv2d(input_shape[0], num_classes, 4), nn.Flatten())


def make(factory=headed, options=None, **spec):
    task = build_task(TaskSpec(f"{__name__}:{factory.__name__}", SHAPE, 3, options or {}, **spec))
    return task, initial_state(task, generator(0))


def images(count=5):
    return torch.rand(count, *SHAPE, generator=generator(1))


@pytest.mark.parametrize("head", ["linear", "activated"])
def test_classifier_names_the_last_linear_layer(head):
    task, state = make(options={"head": head})
    weight, bias = task.classifier
    assert (weight, bias) == ("predictor.0.weight", "predictor.0.bias")
    assert (state[weight].shape, state[bias].shape) == ((3, 4), (3,))


@pytest.mark.parametrize("head", ["no-bias", "other-size", "frozen"])
def test_another_last_layer_is_refused(head):
    task, _ = make(options={"head": head})
    with pytest.raises(
        ModelError, match="expected a trained last linear layer with bias and 3 outputs; label recovery"
    ):
        _ = task.classifier


def test_a_network_without_linear_layer_has_no_classifier():
    task, _ = make(convolutional)
    with pytest.raises(ModelError, match="expected a trained last linear layer"):
        _ = task.classifier


def test_batchnorm_is_noticed():
    assert make()[0].has_batchnorm
    assert not make(convolutional)[0].has_batchnorm


def test_split_parts_trained_tensors_from_the_rest():
    task, state = make(options={"head": "frozen"})
    parameters, rest = task.split(state)
    assert tuple(parameters) == task.parameter_names
    assert set(parameters) == {f"encoder.{layer}.{kind}" for layer in (0, 1) for kind in ("weight", "bias")}
    assert set(rest) == set(state) - set(parameters)
    assert {"predictor.0.weight", "encoder.1.running_mean"} <= set(rest)


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        ((), (), lambda x: x),
        ((0.5, 0.25), (), lambda x: x - torch.tensor([0.5, 0.25])[:, None, None]),
        ((), (0.5, 0.25), lambda x: x / torch.tensor([0.5, 0.25])[:, None, None]),
        ((0.1, 0.2), (2.0, 4.0), lambda x: (x - torch.tensor([[[0.1]], [[0.2]]])) / torch.tensor([[[2.0]], [[4.0]]])),
        ((0.5,), (0.5,), lambda x: 2 * x - 1),
    ],
)
def test_normalisation_is_the_first_layer(mean, std, expected):
    task, state = make(mean=mean, std=std)
    plain, _ = make()
    x = images()
    assert_close(task.normalize(x), expected(x))
    assert_close(task.forward(state, x)[0], plain.forward(state, expected(x))[0])
    assert_close(task.encode(state, x), plain.encode(state, expected(x)))


@pytest.mark.parametrize("constants", [{"mean": (0.5,)}, {"std": (0.5,)}])
def test_one_constant_suffices_for_grey_images(constants):
    """An empty constant is 0 or 1, and not an empty tensor that grey images broadcast with."""
    task = build_task(TaskSpec(f"{__name__}:headed", (1, 4, 4), 3, **constants))
    x = torch.rand(2, 1, 4, 4, generator=generator(0))
    assert_close(task.normalize(x), x - 0.5 if "mean" in constants else x / 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalisation_keeps_the_precision(dtype):
    assert make(mean=(0.5, 0.5), std=(0.25, 0.25))[0].normalize(images().to(dtype)).dtype == dtype


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_encoder_and_predictor_make_the_forward_pass(mode):
    task, state = make(mean=(0.1, 0.2), std=(2.0, 4.0))
    before = {name: value.clone() for name, value in state.items()}
    latent = task.encode(state, images(), mode=mode)
    assert latent.shape == (5, 4)
    logits = F.linear(latent, state["predictor.0.weight"], state["predictor.0.bias"])
    assert_close(task.forward(state, images(), mode=mode)[0], logits)
    assert_close(state, before, rtol=0, atol=0)


def test_modes_differ_in_batchnorm_only():
    task, state = make()
    (trained, moved), (evaluated, kept) = (task.forward(state, images(), mode=mode) for mode in ("train", "eval"))
    assert not torch.allclose(trained, evaluated)
    assert_close(kept, task.split(state)[1], rtol=0, atol=0)
    assert all(not torch.equal(moved[name], value) for name, value in kept.items())


def test_a_network_in_one_piece_has_no_latent_map():
    task, state = make(convolutional)
    with pytest.raises(ModelError, match="expected a network with an encoder and a predictor; use convnet or lenet"):
        task.encode(state, images())


def test_latent_noise_lies_between_encoder_and_predictor():
    task, state = make()
    mean, std = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.1, 0.0, 0.5, 2.0])
    noisy = replace(task, latent=LatentNoise(mean, std))
    noise = torch.randn(5, 4, generator=generator(2))

    def predict(z):
        return F.linear(z, state["predictor.0.weight"], state["predictor.0.bias"])

    latent = task.encode(state, images())
    assert_close(noisy.encode(state, images()), latent)
    assert_close(noisy.forward(state, images(), noise=noise)[0], predict(latent + mean + std * noise))
    assert_close(noisy.forward(state, images())[0], predict(latent + mean))


def test_a_state_of_another_network_is_refused():
    task, state = make()
    with pytest.raises(RuntimeError, match="Missing key"):
        task.forward({name: v for name, v in state.items() if name != "predictor.0.bias"}, images())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        task.forward(state | {"other": torch.zeros(1)}, images())


def test_loss_is_the_mean_cross_entropy_of_indices_or_probabilities():
    task, _ = make()
    logits = torch.randn(4, 3, generator=generator(0), dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1])
    chosen = logits.log_softmax(1)[torch.arange(4), labels]
    assert_close(task.loss(logits, labels), -chosen.mean())
    assert_close(task.loss(logits, F.one_hot(labels, 3).double()), -chosen.mean())
    assert_close(task.loss(logits, torch.full((4, 3), 1 / 3).double()), -logits.log_softmax(1).mean())
