"""SPEAR takes a batch apart: exactly, and says by its objective where it could not."""

import pytest
import torch
from grid import defenses
from torch import nn
from torch.testing import assert_close

from leakward import registry
from leakward.attacks import SPEAR, Status
from leakward.attacks.reading.disaggregation import Factors, choose, disaggregate, factorise
from leakward.data import load_data
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

OWN = f"{__name__}:"


def random_batch(count, side=12):
    rng = generator(count)
    return Batch(torch.rand(count, 1, side, side, generator=rng), torch.randint(4, (count,), generator=rng))


def seen(batch, *, hidden=200, mean=0.5, std=0.5, classes=4, defense=None, threat=None, model="mlp", **recipe):
    """Observe a round of a fully connected network on ``batch``."""
    shape, options = tuple(batch.images.shape[1:]), {"hidden": hidden}
    constants = (mean,) * shape[0], (std,) * shape[0]
    task = build_task(TaskSpec(model, shape, classes, options, *constants))
    recipe = LocalTraining(batch_images=len(batch), **recipe)
    defense = defense or NoDefense()
    task, state = defense.install(task, initial_state(task, generator(1)), generator(5))
    round_ = run_round(task, state, batch, recipe, defense, generator(2))
    return observe(round_, threat or ThreatModel())


def matched(found, batch):
    """Return the largest difference of each image of the batch to the one found that is closest, and which that is."""
    distance = (found.images[:, None] - batch.images[None]).abs().flatten(2).amax(2)
    return distance.amin(0), distance.argmin(0)


def require_exact(found, batch):
    distance, place = matched(found, batch)
    assert distance.max() < 1e-4
    assert sorted(place.tolist()) == list(range(len(batch)))
    assert torch.equal(found.labels[place], batch.labels)
    assert found.objective < 1e-5


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_batch_is_recovered_with_its_labels(count):
    batch = random_batch(count)
    [found] = SPEAR().recover([seen(batch)], generator(0))
    require_exact(found, batch)
    assert found.evaluations < 10_000


def test_granted_labels_keep_their_order_and_images_follow():
    batch = random_batch(4)
    [found] = SPEAR().recover([seen(batch, threat=ThreatModel(labels=True))], generator(0))
    require_exact(found, batch)
    assert torch.equal(found.labels, batch.labels)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "hidden"), [(8, 200), (12, 400)])
def test_a_batch_of_cells_is_recovered(count, hidden):
    """Normalised to their own mean: brighter images let most units pass all of them."""
    data = load_data("phantom", size=28, count=64)
    mean, std = float(data.images.mean()), float(data.images.std())
    batch = Batch(data.images[:count], data.labels[:count])
    [found] = SPEAR().recover([seen(batch, hidden=hidden, mean=mean, std=std, classes=8)], generator(0))
    require_exact(found, batch)


def test_images_of_a_deeper_network_are_recovered():
    batch = random_batch(3)
    [found] = SPEAR().recover([seen(batch, model=OWN + "deep")], generator(0))
    require_exact(found, batch)


def deep(input_shape, num_classes, *, hidden):
    pixels = input_shape[0] * input_shape[1] * input_shape[2]
    first = (nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU())
    return nn.Sequential(*first, nn.Linear(hidden, 20), nn.Tanh(), nn.Linear(20, num_classes))


def test_draws_that_do_not_suffice_are_said_not_to():
    batch = random_batch(8)
    [found] = SPEAR(evaluations=2).recover([seen(batch)], generator(0))
    assert found.status is Status.OK
    assert found.evaluations == 2
    assert found.objective > 0.1
    assert matched(found, batch)[0].max() > 0.1


def test_an_image_that_occurs_twice_is_found_once_and_none_is_made_up():
    """The rank is one less; the place left over holds the mixture of the batch."""
    batch = random_batch(4)
    batch.images[1] = batch.images[0]
    observation = seen(batch)
    [found] = SPEAR().recover([observation], generator(0))
    distance, place = matched(found, batch)
    assert distance.max() < 1e-4
    assert place[0] == place[1]
    assert found.objective > 0.01
    [left] = {0, 1, 2, 3} - {*place.tolist()}
    weight, bias = (observation.update.tensors[f"encoder.1.{part}"] for part in ("weight", "bias"))
    mixture = observation.task.denormalize((bias @ weight / bias.square().sum()).view(1, 1, 12, 12)).clamp(0, 1)
    assert_close(found.images[left : left + 1], mixture, rtol=0, atol=1e-4)


def test_noise_is_measured_on_the_message_and_tolerated():
    batch = random_batch(4)
    noisy = seen(batch, defense=registry.load("defenses", "gaussian-noise")(1e-5), threat=ThreatModel("unaware"))
    [found] = SPEAR(evaluations=500).recover([noisy], generator(0))
    assert matched(found, batch)[0].max() < 2e-3


def test_clipping_hides_nothing():
    batch = random_batch(4)
    for name, fields in (("clipping", {"max_norm": 1e-2}), ("dp-sgd", {"max_grad_norm": 0.1, "noise_multiplier": 0.0})):
        [found] = SPEAR().recover([seen(batch, defense=registry.load("defenses", name)(**fields))], generator(0))
        require_exact(found, batch)


UNFIT = {"learnable-perturbation", "variational-bottleneck", "group-norm"}
"""Defences for which a fully connected network lacks maps or BatchNorm."""


@pytest.mark.parametrize("knowledge", ["unaware", "aware", "oracle"])
@pytest.mark.parametrize("defense", defenses(UNFIT))
def test_every_defence_of_such_a_network_can_be_attacked(defense, knowledge):
    kind = registry.load("defenses", defense)
    observed = seen(random_batch(2, 6), hidden=40, defense=kind(), threat=ThreatModel(knowledge))
    attack = SPEAR(evaluations=20)
    if attack.can_attack(observed):
        [found] = attack.recover([observed], generator(0))
        assert found.status is Status.OK
        assert torch.isfinite(found.images).all()
        assert found.objective < float("inf")


def synthetic(images=4, units=60, pixels=30):
    """Factors of a batch whose dL/dZ is zero just where its units let nothing pass, and the true directions."""
    rng = generator(0)
    x, weight, size = (
        torch.randn(*shape, dtype=torch.float64, generator=rng)
        for shape in ((images, pixels), (units, pixels), (units, images))
    )
    columns = size * (weight @ x.T > 0)
    factors = factorise(columns @ x, columns.sum(1), weight, weight.new_zeros(units), images, 1e-6)
    truth = (factors.left.T @ columns).T
    return factors, truth / truth.norm(dim=1, keepdim=True), x, columns


def test_true_directions_agree_with_relu_and_scale_to_images_and_gradients():
    factors, truth, x, columns = synthetic()
    assert factors.agreement(truth) == 1
    scaled, inverse = factors.scaled(truth)
    assert_close(inverse @ factors.right, x)
    assert_close(factors.left @ scaled.T, columns)


def test_directions_are_exchanged_until_they_agree():
    """Ten wrong ones stand before the true ones, and one of the true ones comes last."""
    factors, truth, _, _ = synthetic()
    wrong = torch.nn.functional.normalize(torch.randn(10, 4, dtype=torch.float64, generator=generator(1)), dim=1)
    chosen = choose(factors, torch.cat([truth[:1], wrong, truth[1:]]))
    assert factors.agreement(chosen) == 1
    assert_close((chosen @ truth.T).abs().amax(1), torch.ones(4, dtype=torch.float64))
    assert len(choose(factors, truth[[0, 0, 1]])) == 2


def test_draws_end_when_the_directions_agree():
    factors, truth, _, _ = synthetic()
    directions, drawn = disaggregate(factors, 100_000, generator(0))
    assert drawn < 5000
    assert_close((directions @ truth.T).abs().amax(0), torch.ones(4, dtype=torch.float64))


def test_the_rank_is_that_of_what_the_images_do():
    factors, _, x, columns = synthetic()
    assert isinstance(factors, Factors)
    columns[:, 1] = 0  # an image that all units stop
    weight = torch.zeros(60, 30, dtype=torch.float64)
    assert factorise(columns @ x, columns.sum(1), weight, weight[:, 0], 4, 1e-6).left.shape == (60, 3)


def test_what_it_cannot_take_apart_is_refused():
    batch = random_batch(3, 6)
    assert SPEAR().can_attack(seen(batch, hidden=10))
    assert not SPEAR().can_attack(seen(batch, hidden=2))
    assert not SPEAR().can_attack(seen(batch, hidden=10, share="update"))
    assert not SPEAR().can_attack(seen(batch, hidden=10, model=OWN + "smooth"))
    assert not SPEAR().can_attack(seen(batch, hidden=10, model=OWN + "convolutional"))


def smooth(input_shape, num_classes, *, hidden):
    pixels = input_shape[0] * input_shape[1] * input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.Sigmoid(), nn.Linear(hidden, num_classes))


def convolutional(input_shape, num_classes, *, hidden):
    pixels = input_shape[1] * input_shape[2]
    convolution = nn.Conv2d(input_shape[0], 1, 3, padding=1)
    return nn.Sequential(
        convolution, nn.ReLU(), nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )
