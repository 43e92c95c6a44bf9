"""Robbing the Fed: images alone in their bin come out exactly."""

import pytest
import torch
from grid import defenses
from torch import nn

from leakward import registry
from leakward.attacks import RobbingTheFed, Status
from leakward.data import load_data
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.metrics import assign, psnr
from leakward.models import SplitModel, TaskSpec, build_task, initial_state
from leakward.models.imprint import imprint_layer, planted_name
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

SIDE, BINS = 9, 20
THRESHOLDS = (torch.arange(BINS) + 0.5) / BINS
STEP = LocalTraining(share="update", batch_images=6, learning_rate=0.05, momentum=0.9, weight_decay=1e-3)


def plain_network(input_shape, num_classes):
    """Build a network that is no ``SplitModel``."""
    return nn.Sequential(nn.Conv2d(input_shape[0], 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(98, num_classes))


def agreed(model="lenet"):
    options = {"lenet": {"channels": 2}, "convnet": {"width": 2}}.get(model, {})
    task = build_task(TaskSpec(model, (3, SIDE, SIDE), 4, options, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))
    return task, initial_state(task, generator(7))


def images(*brightness):
    """Return images of given mean brightness."""
    noise = torch.rand(len(brightness), 3, SIDE, SIDE, generator=generator(1)) * 0.3
    return noise - noise.mean((1, 2, 3), keepdim=True) + torch.tensor(brightness)[:, None, None, None]


def in_bins(*bins):
    """Return a batch with an image in the middle of each of these bins of N(0.5, 0.1^2)."""
    bounds = torch.distributions.Normal(0.5, 0.1).icdf(THRESHOLDS)
    places = torch.tensor(bins)
    return Batch(images(*((bounds[places] + bounds[places + 1]) / 2).tolist()), torch.arange(len(bins)) % 4)


def attack(batch, recipe=None, defense=None, knowledge="aware", model="lenet", gain=1e12, **threat):
    defense = defense or NoDefense()
    task, state = defense.install(*agreed(model), generator(2))
    attack = RobbingTheFed(bins=BINS, gain=gain, spread=0.1)
    task, state = attack.plant(task, state, None, generator(0))
    recipe = recipe or LocalTraining(batch_images=len(batch))
    round_ = run_round(task, state, batch, recipe, defense, generator(3))
    return attack.recover([observe(round_, ThreatModel(knowledge, **threat))], generator(4))[0]


def compare(found, batch):
    """Return the PSNR of every image, and the labels in the order of the batch."""
    order = assign(batch.images, found.images)
    return psnr(batch.images, found.images[order]), found.labels[order]


def test_at_least_half_of_64_images_come_out_at_40_db():
    """61 % of 64 images are expected alone in one of 128 equally likely bins."""
    data = load_data("phantom", size=16, count=128)
    (private, labels), public = data.subset("train"), Batch(*data.subset("val"))
    task = build_task(TaskSpec("lenet", data.image_shape, len(data.classes), {"channels": 2}))
    attack, batch = RobbingTheFed(bins=128), Batch(private[:64], labels[:64])
    task, state = attack.plant(task, initial_state(task, generator(0)), public, generator(1))
    round_ = run_round(task, state, batch, LocalTraining(batch_images=64), NoDefense(), generator(2))
    found = attack.recover([observe(round_, ThreatModel())], generator(3))[0]
    quality, named = compare(found, batch)
    assert (quality > 40).sum() >= 32
    assert torch.equal(named[quality > 40], batch.labels[quality > 40])


@pytest.mark.parametrize("recipe", [LocalTraining(batch_images=6), STEP], ids=["gradient", "one step"])
@pytest.mark.parametrize("model", ["lenet", "mlp", f"{__name__}:plain_network"])
def test_images_alone_in_their_bins_come_out_exactly_with_their_labels(model, recipe):
    batch = in_bins(1, 4, 9, 10, 13, 17)
    found = attack(batch, recipe, model=model)
    quality, named = compare(found, batch)
    assert quality.min() > 60
    assert torch.equal(named, batch.labels)
    assert found.objective < 1e-2


def test_two_images_in_a_bin_are_found_as_one_mixture_that_is_repeated():
    batch = in_bins(3, 8, 8)
    found = attack(batch)
    quality, named = compare(found, batch)
    assert quality[0] > 60
    assert named[0] == batch.labels[0]
    assert quality[1:].max() < 40
    assert torch.equal(found.images[1], found.images[2])
    mixture, (one, other) = found.images[1].flatten(), batch.images[1:].flatten(1)
    share = ((mixture - other) @ (one - other)) / (one - other).square().sum()
    inside = (found.images[1].flatten() > 0) & (found.images[1].flatten() < 1)
    torch.testing.assert_close(mixture[inside], (share * one + (1 - share) * other)[inside], rtol=0, atol=1e-3)


def test_granted_labels_are_kept():
    batch = in_bins(1, 4, 9)
    assert torch.equal(attack(batch, labels=True).labels, batch.labels)


def test_thresholds_follow_the_public_images():
    """They share the bins out evenly, but for the outermost, which smoothing keeps for images beyond them."""
    task, state = agreed()
    public = Batch(images(*torch.linspace(0.7, 0.8, 40).tolist()), torch.zeros(40, dtype=torch.long))
    planted, sent = RobbingTheFed(bins=10).plant(task, state, public, generator(0))
    layer = imprint_layer(planted.model)
    rows = planted.normalize(public.images).flatten(1) @ sent[f"{layer}.weight"].T + sent[f"{layer}.bias"]
    places = (rows > 0).sum(1).bincount(minlength=11)
    assert places[1:-1].min() >= 3
    assert places.max() <= 7


@pytest.mark.parametrize("model", ["lenet", "convnet", f"{__name__}:plain_network"])
def test_the_agreed_network_is_inside_and_does_much_the_same(model):
    task, state = agreed(model)
    batch = Batch(torch.rand(5, *task.spec.input_shape, generator=generator(0)), torch.arange(5) % 4)
    planted, sent = RobbingTheFed(bins=16).plant(task, state, None, generator(0))
    for name, value in state.items():
        assert torch.equal(sent[planted_name(name, planted.model)], value)
    assert sent.keys() == planted.model.state_dict().keys()
    assert isinstance(planted.model, SplitModel) == isinstance(task.model, SplitModel)
    assert build_task(planted.spec).model.state_dict().keys() == sent.keys()
    logits, honest = planted.forward(sent, batch.images)[0], task.forward(state, batch.images)[0]
    assert logits.shape == (5, 4)
    assert (logits - honest).abs().max() < 0.1 * honest.abs().max()


@pytest.mark.parametrize("knowledge", ["unaware", "aware", "oracle"])
@pytest.mark.parametrize("defense", defenses(["group-norm"]))
def test_defences_apply_to_the_planted_model(defense, knowledge):
    found = attack(in_bins(1, 4, 9), defense=registry.load("defenses", defense)(), knowledge=knowledge)
    assert found.status is Status.OK
    assert torch.isfinite(found.images).all()


def test_clipping_leaves_images_and_labels_as_they_are():
    batch = in_bins(1, 4, 9, 13)
    quality, named = compare(attack(batch, defense=registry.load("defenses", "clipping")()), batch)
    assert quality.min() > 60
    assert torch.equal(named, batch.labels)


@pytest.mark.parametrize(("gain", "leaks"), [(1.0, False), (1e12, True)])
def test_gain_drowns_noise_on_the_message(gain, leaks):
    batch = in_bins(1, 4, 9, 13)
    quality, _ = compare(attack(batch, defense=registry.load("defenses", "gaussian-noise")(0.01), gain=gain), batch)
    assert bool((quality > 40).all()) is leaks
    assert bool((quality > 40).any()) is leaks


@pytest.mark.parametrize(
    "recipe",
    [
        LocalTraining(share="update", batch_images=4, epochs=2),
        LocalTraining(share="update", batch_images=4, minibatch=2),
        LocalTraining(share="update", batch_images=4, optimizer="adam"),
    ],
    ids=["epochs", "minibatches", "adam"],
)
def test_several_steps_and_adam_are_refused(recipe):
    assert attack(in_bins(1, 4, 9, 13), recipe).status is Status.NOT_APPLICABLE


def test_an_honest_model_is_refused(victims):
    found = RobbingTheFed().recover(victims(1, "lenet", channels=2), generator(0))[0]
    assert found.status is Status.NOT_APPLICABLE
