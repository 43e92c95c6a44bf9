"""R-GAP computes the image: exactly where the constraints are enough, and not where they are not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from leakward import registry
from leakward.attacks import RGAP
from leakward.attacks.reading.recursion import Layer, constraints, rank_analysis, read_layers, solve
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import Task, TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

OWN = f"{__name__}:"


def attacked(model, shape, *, double=False, defense=None, threat=None, mean=(), std=(), **options):
    """Return the image of a round, its label, and what R-GAP makes of it."""
    task = build_task(TaskSpec(model, shape, 10, options, mean, std))
    state = initial_state(task, generator(1))
    image = F.interpolate(torch.rand(1, shape[0], 4, 4, generator=generator(2)), shape[1:], mode="bilinear")
    if double:
        state, image = {name: value.double() for name, value in state.items()}, image.double()
    batch = Batch(image, torch.tensor([3]))
    round_ = run_round(task, state, batch, LocalTraining(), defense or NoDefense(), generator(3))
    [found] = RGAP().recover([observe(round_, threat or ThreatModel())], generator(0))
    return image.float(), found


def tanh_network(input_shape, num_classes):
    """Biases, padding by name, a shared activation, and a hidden linear layer."""
    channels, height, width = input_shape
    activation = nn.Tanh()
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding="same", dilation=2),
        activation,
        nn.Conv2d(16, 16, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.Sequential(nn.Flatten(), activation),
        nn.Linear(16 * ((height + 1) // 2) * (width - 1), 50),
        nn.LeakyReLU(0.1),
        nn.Linear(50, num_classes),
    )


@pytest.mark.parametrize(
    ("model", "shape", "options"),
    [
        ("cnn6", (3, 16, 16), {}),
        ("cnn6", (1, 12, 12), {"width": 4, "mean": (0.4,), "std": (0.3,)}),
        ("lenet", (3, 12, 12), {}),
        (OWN + "tanh_network", (1, 8, 8), {}),
    ],
)
def test_a_network_with_enough_constraints_gives_its_image_away(model, shape, options):
    image, found = attacked(model, shape, **options)
    assert_close(found.images, image, rtol=0, atol=1e-4)
    assert found.objective < 1e-6
    assert found.labels.tolist() == [3]


def test_what_limits_it_is_the_precision_of_the_message():
    image, found = attacked("cnn6", (3, 16, 16), double=True)
    assert_close(found.images, image, rtol=0, atol=1e-7)
    assert found.objective < 1e-12


@pytest.mark.slow
def test_the_papers_own_setting():
    image, found = attacked("cnn6", (3, 32, 32))
    assert_close(found.images, image, rtol=0, atol=1e-4)


def test_a_scaled_gradient_hides_nothing():
    image, found = attacked("cnn6", (1, 12, 12), defense=registry.load("defenses", "clipping")(1e-3), width=4)
    assert_close(found.images, image, rtol=0, atol=1e-4)
    assert found.objective < 1e-6


def test_rank_analysis_counts_what_is_left_unknown():
    """By hand: 3,072 pixels, 576 entries of the kernel, 12 x 17 x 17 outputs; 396 of these are more than needed."""
    index = rank_analysis(build_task(TaskSpec("cnn6", (3, 32, 32), 10)))
    assert index["encoder.0"] == 3072 - 576 - 3468
    assert index["encoder.2"] == 3468 - 3888 - 2916 - 396
    assert index["encoder.4"] == 2916 - 11664 - 2916 - 396
    assert index["predictor.1"] == 3200 - 32000 - 10 - 396 - (3200 - 1600)
    assert rank_analysis(build_task(TaskSpec("cnn6", (3, 32, 32), 10, {"width": 9})))["encoder.0"] == 39
    with pytest.raises(ValueError, match=r"rank_analysis: expected a sequence .*, got model 'convnet'; choose cnn6"):
        rank_analysis(build_task(TaskSpec("convnet", (3, 12, 12), 10, {"width": 2})))


def test_a_network_too_narrow_keeps_its_image():
    index = rank_analysis(build_task(TaskSpec("cnn6", (3, 16, 16), 10, {"width": 5})))
    assert {name for name, lacking in index.items() if lacking > 0} == {"encoder.0"}
    image, found = attacked("cnn6", (3, 16, 16), width=5)
    assert (found.images - image).abs().max() > 0.1


LAYERS = [
    nn.Conv2d(2, 3, 3),
    nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)),
    nn.Conv2d(2, 4, 3, padding="same", dilation=2),
    nn.Conv2d(2, 3, 4, stride=3, padding=2, bias=False),
]


@pytest.mark.parametrize("module", LAYERS, ids=str)
def test_constraints_are_those_of_the_convolution(module):
    module = module.double()
    x = torch.rand(1, 2, 6, 7, dtype=torch.float64, generator=generator(0))
    z = module(x)
    k = torch.rand(z.shape, dtype=torch.float64, generator=generator(1))
    [kernel_gradient] = torch.autograd.grad(z, module.weight, k)
    kernel, bias = module.weight.detach(), 0 if module.bias is None else module.bias.detach()[:, None]
    gradient, weight = constraints(Layer("", module, (2, 6, 7), z.numel()), kernel, k[0].flatten(1))
    assert_close(gradient @ x[0].flatten(1).T, kernel_gradient.transpose(0, 1).flatten(1).T)
    assert_close((weight @ x.flatten()).view(len(kernel), -1) + bias, z[0].flatten(1).detach())


def test_entries_that_are_not_trusted_do_not_count():
    rng = generator(0)
    x, gradient = (torch.rand(*shape, dtype=torch.float64, generator=rng) for shape in ((2, 5), (9, 5)))
    weight = torch.rand(4, 10, dtype=torch.float64, generator=rng)
    sent, trust = x @ gradient.T, torch.ones(2, 9, dtype=torch.float64)
    sent[0, 3], trust[0, 3] = 100.0, 0.0
    assert_close(solve(gradient, sent, trust, weight, weight @ x.flatten()), x.flatten())
    assert (solve(gradient, sent, torch.ones_like(trust), weight, weight @ x.flatten()) - x.flatten()).abs().max() > 1


def own(*layers):
    return Task(TaskSpec("own", (2, 4, 4), 3), nn.Sequential(*layers))


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)),
        (nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.0), nn.Flatten(), nn.Linear(12, 3)),
        (nn.Conv2d(2, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3)),
        (nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(48, 3)),
        (nn.Flatten(), nn.Linear(32, 3, bias=False)),
        (nn.Flatten(), nn.Linear(32, 3), nn.Tanh()),
        (nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)),
    ],
)
def test_a_network_that_cannot_be_gone_back_through_is_refused(layers):
    assert read_layers(own(*layers)) is None


def test_frozen_kernels_send_nothing():
    task = own(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))
    assert len(read_layers(task)) == 2
    task.model[0].weight.requires_grad_(False)
    assert read_layers(task) is None


def test_batches_local_steps_and_large_images_are_refused():
    def applies(shape, recipe):
        task = build_task(TaskSpec("lenet", shape, 4, {"channels": 2}))
        batch = Batch(torch.rand(recipe.batch_images, *shape), torch.zeros(recipe.batch_images, dtype=torch.long))
        round_ = run_round(task, initial_state(task, generator(0)), batch, recipe, NoDefense(), generator(0))
        return RGAP().can_attack(observe(round_, ThreatModel()))

    assert applies((1, 8, 8), LocalTraining())
    assert not applies((1, 8, 8), LocalTraining(batch_images=2))
    assert not applies((1, 8, 8), LocalTraining(share="update"))
    assert not applies((3, 48, 48), LocalTraining())
