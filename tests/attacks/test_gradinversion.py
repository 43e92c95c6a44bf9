"""GradInversion: what it takes from BatchNorm layers, when it takes nothing, and what agreement of starts does."""

from dataclasses import replace

import pytest
import torch
from batch_normalised import network
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.func import vmap
from torch.testing import assert_close
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from leakward import registry
from leakward.attacks import GradInversion, InvertingGradients, Status
from leakward.attacks.reading.batch_statistics import known_layers, observed_statistics
from leakward.attacks.reading.label_counts import infer_labels
from leakward.attacks.searching.replay import Victims, gather
from leakward.data import load_data
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.models.statistics import batch_statistics, statistics_distance
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

EVAL, TRAIN = (LocalTraining(batch_images=2, mode=mode) for mode in ("eval", "train"))
STEPS = LocalTraining(share="update", batch_images=2, minibatch=1, epochs=2, learning_rate=0.1, mode="train")


def dropping(input_shape, num_classes):
    """Dropout forbids a pass in train mode."""
    return nn.Sequential(nn.Dropout(0.5), network(input_shape, num_classes))


def shrinking(input_shape, num_classes):
    """Its BatchNorm sees a single value per channel and image."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, input_shape[1]), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, num_classes)
    )


def see(recipe, model="batch_normalised:network", *, used=True, defense=None, threat=None, labels=(1, 3), seed=2):
    """Return the private batch and what is seen of a round; a ``used`` network has running statistics of its own."""
    task = build_task(TaskSpec(model, (3, 8, 8), 4))
    state = initial_state(task, generator(1))
    if used:
        for name, value in state.items():
            if "running" in name or "tracked" in name:
                state[name] = value + torch.ones_like(value)
    batch = Batch(torch.rand(recipe.batch_images, 3, 8, 8, generator=generator(seed)), torch.tensor(labels))
    return batch, observe(
        run_round(task, state, batch, recipe, defense or NoDefense(), generator(4)), threat or GRANTED
    )


GRANTED = ThreatModel(labels=True)


@pytest.mark.parametrize("recipe", [TRAIN, STEPS], ids=["gradient", "several steps"])
def test_what_a_client_sends_tells_the_statistics_of_its_own_batch(recipe):
    """At the true images the distance is zero, whatever the running statistics were; elsewhere it is not."""
    for used in (False, True):
        batch, seen = see(recipe, used=used)
        victims = gather([seen], restarts=1, averaged=1)
        layers = known_layers(seen.task, [seen])
        assert len(layers) == 2
        target = {name: value[0] for name, value in observed_statistics(layers, victims).items()}

        def distance(images, layers=layers, target=target, victims=victims, seen=seen):
            buffers = victims.replay.update(images, seen.labels, {}, ())[1]
            return statistics_distance(layers, batch_statistics(layers, seen.state, buffers), target)

        assert distance(batch.images) < 1e-5
        assert distance(1 - batch.images) > 0.01
        slope = torch.func.grad(distance)(batch.images)  # at a kink
        assert torch.isfinite(slope).all()


def test_where_nothing_is_sent_the_running_statistics_before_the_round_are_known():
    _, seen = see(EVAL)
    layers = known_layers(seen.task, [seen])
    found = observed_statistics(layers, gather([seen], restarts=1, averaged=1))
    assert {name: value[0].tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in seen.state.items() if "running" in name
    }
    assert len(found) == 4


@pytest.mark.parametrize(
    ("recipe", "model", "used"),
    [
        (EVAL, "batch_normalised:network", False),
        (EVAL, f"{__name__}:dropping", True),
        (replace(EVAL, batch_images=1), f"{__name__}:shrinking", True),
        (EVAL, "lenet", True),
    ],
    ids=["no batch seen yet", "dropout", "single values", "no BatchNorm"],
)
def test_where_nothing_is_known_it_matches_the_gradient_alone(recipe, model, used):
    _, seen = see(recipe, model, used=used, labels=(1, 3)[: recipe.batch_images])
    assert known_layers(seen.task, [seen]) == ()
    without, with_prior = (GradInversion(3, batchnorm=weight).recover([seen], generator(0))[0] for weight in (0.0, 1.0))
    assert with_prior.status is Status.OK
    assert_close(without.images, with_prior.images)


def test_victims_of_several_rounds_are_matched_to_statistics_of_their_own():
    pairs = [see(TRAIN, used=used, seed=seed) for used, seed in ((False, 2), (True, 3))]
    victims = gather([seen for _, seen in pairs], restarts=1, averaged=1)
    layers = known_layers(pairs[0][1].task, [seen for _, seen in pairs])
    target = observed_statistics(layers, victims)

    def distance(images, victim, target):
        buffers = victims.replay.update(images, victim["labels"], victim, ())[1]
        return statistics_distance(layers, batch_statistics(layers, victim["state"], buffers), target)

    images = torch.stack([batch.images for batch, _ in pairs])
    assert (vmap(distance)(images, victims.tensors, target) < 1e-5).all()
    assert (vmap(distance)(images.flip(0), victims.tensors, target) > 0.01).all()


def test_the_first_layer_weighs_ten_times_as_much_as_another():
    _, seen = see(TRAIN)
    layers = known_layers(seen.task, [seen])
    target = {name: torch.zeros(6) for layer in layers for name in layer.statistics}
    for layer, share in zip(layers, (10 / 11, 1 / 11), strict=True):
        found = target | {layer.statistics[0]: torch.tensor([3.0, 4.0, 0, 0, 0, 0])}
        assert float(statistics_distance(layers, found, target, first=10.0)) == pytest.approx(5 * share)


def test_starts_that_agree_end_closer_together(monkeypatch):
    ends = []
    choose = Victims.choose
    monkeypatch.setattr(Victims, "choose", lambda *given: ends.append(given[1].best["images"]) or choose(*given))
    _, seen = see(TRAIN)
    for group in (0.0, 100.0):
        GradInversion(30, group=group, restarts=3, refresh=2).recover([seen, seen], generator(0))
    apart, agreed = (end.view(2, 3, -1).std(1).mean() for end in ends)
    assert agreed < 0.6 * apart


def test_a_start_alone_agrees_with_nobody():
    _, seen = see(TRAIN)
    one, other = (GradInversion(8, group=group, refresh=2).recover([seen], generator(0))[0] for group in (0.0, 100.0))
    assert torch.equal(one.images, other.images)


def test_labels_by_the_rule_of_the_paper():
    inferred = ThreatModel()
    _, seen = see(TRAIN, threat=inferred)
    assert GradInversion(2, label_rule="distinct").recover([seen], generator(0))[0].labels.tolist() == [1, 3]
    many = replace(TRAIN, batch_images=5)
    _, seen = see(many, threat=inferred, labels=(0, 0, 1, 2, 3))
    assert not GradInversion(label_rule="distinct").can_attack(seen)
    assert torch.equal(GradInversion(2).recover([seen], generator(0))[0].labels, infer_labels(seen))
    assert GradInversion(label_rule="distinct").can_attack(see(many, labels=(0, 0, 1, 2, 3))[1])


@pytest.mark.parametrize(
    ("defense", "knowledge"), [("gaussian-noise", "aware"), ("pruning", "aware"), ("clipping", "oracle")]
)
def test_defended_clients_with_batch_statistics_are_attacked(defense, knowledge):
    _, seen = see(TRAIN, defense=registry.load("defenses", defense)(), threat=ThreatModel(knowledge, labels=True))
    assert GradInversion(2).recover([seen], generator(0))[0].status is Status.OK


def quality(found, batch):
    """Return mean PSNR and SSIM of the images, assigned to the true ones by squared error."""
    error = (found.images[:, None] - batch.images[None]).square().flatten(2).mean(2)
    rows, columns = linear_sum_assignment(error.numpy())
    psnr = (-10 * error[rows, columns].log10()).mean()
    return float(psnr), float(ssim(found.images[rows], batch.images[columns], data_range=1.0))


@pytest.mark.slow
def test_batch_statistics_beat_inverting_gradients_on_a_resnet18():
    """Eight phantom images, one gradient in train mode, a fresh network, labels granted, equal steps and smoothness."""
    data = load_data("phantom", size=28, count=64)
    task = build_task(TaskSpec("resnet18", data.images.shape[1:], 8, mean=data.mean, std=data.std))
    batch = Batch(data.images[:8], data.labels[:8])
    recipe = LocalTraining(batch_images=8, mode="train")
    seen = observe(
        run_round(task, initial_state(task, generator(0)), batch, recipe, NoDefense(), generator(9)), GRANTED
    )
    ours, theirs = (
        quality(attack.recover([seen], generator(1))[0], batch)
        for attack in (
            GradInversion(iterations=100, batchnorm=1.0, total_variation=1.0),
            InvertingGradients(iterations=100, total_variation=1.0),
        )
    )
    assert ours[0] > theirs[0] + 1
    assert ours[1] > theirs[1]
