"""Attacks that match what BatchNorm layers saw, and the coupling of starts."""

import pytest
import torch
from batch_normalised import network
from torch import nn

from leakward.attacks import FLGradientInversion, GradInversion, InvertingGradients
from leakward.attacks.searching.consensus import consensus
from leakward.attacks.solvers import Adam, Coupling, Problem
from leakward.data import load_data
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.models.statistics import batch_statistics, batchnorm_layers
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

RECIPE = LocalTraining(share="update", batch_images=2, mode="train", learning_rate=0.05)


def seen(recipe, *, labels=True):
    """Return the private batch and what is seen of one round on phantom images."""
    data = load_data("phantom", size=16, count=200)
    task = build_task(TaskSpec("batch_normalised:network", (3, 16, 16), 8))
    private = Batch(data.images[: recipe.batch_images], data.labels[: recipe.batch_images])
    public = Batch(data.images[100:], data.labels[100:])
    round_ = run_round(task, initial_state(task, generator(1)), private, recipe, NoDefense(), generator(2))
    return private, observe(round_, ThreatModel(labels=labels, public=True), public)


def error(attack, private, observation):
    found = attack.recover([observation], generator(0))[0].images
    orders = (found, found.flip(0))  # two images may be recovered in either order
    return min(float((one - private.images).square().mean()) for one in orders)


@pytest.mark.parametrize("steps", [1, 3])
def test_statistics_come_back_from_pytorchs_own_layers(steps):
    model, rng = network((3, 8, 8), 4), generator(0)
    task = build_task(TaskSpec("batch_normalised:network", (3, 8, 8), 4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    means = []
    model.train()
    model[0].register_forward_hook(
        lambda _, __, z: means.append((z.mean((0, 2, 3)), z.transpose(0, 1).flatten(1).var(1)))
    )
    for _ in range(steps):
        model(torch.rand(5, 3, 8, 8, generator=rng))
    layers = batchnorm_layers(task)
    found = batch_statistics(layers, before, model.state_dict())
    weights = torch.tensor([0.9 ** (steps - 1 - i) for i in range(steps)])
    for position, name in enumerate(layers[0].statistics):
        expected = sum(w * pair[position] for w, pair in zip(weights / weights.sum(), means, strict=True))
        torch.testing.assert_close(found[name], expected.detach(), rtol=1e-4, atol=1e-5)
    assert [layer.momentum for layer in layers] == [m.momentum for m in model if isinstance(m, nn.BatchNorm2d)]


def test_batch_statistics_recover_what_direction_alone_does_not():
    private, observation = seen(RECIPE)
    found = error(GradInversion(300), private, observation)
    assert found < 1e-4
    assert found < error(InvertingGradients(300), private, observation) / 10


@pytest.mark.parametrize("recipe", [RECIPE, LocalTraining(**{**vars(RECIPE), "epochs": 3})], ids=["one", "three"])
def test_running_statistics_compound_over_local_steps(recipe):
    private, observation = seen(recipe)
    assert error(FLGradientInversion(300), private, observation) < 1e-4


def test_in_the_published_form_the_update_does_not_move_the_image():
    """So the statistics alone are matched, and images that agree in them cannot be told apart."""
    private, observation = seen(RECIPE)
    assert error(FLGradientInversion(300, form="published"), private, observation) > 1e-3


def test_the_consensus_puts_images_of_one_class_into_one_order():
    images = torch.rand(1, 3, 1, 4, 4, generator=generator(0)).expand(2, -1, -1, -1, -1).clone()
    images[1, [0, 1]] = images[1, [1, 0]]
    labels = torch.tensor([[2, 2, 5], [2, 2, 5]])
    mean = consensus(images, labels, 2)
    torch.testing.assert_close(mean, images)


def test_coupled_trials_are_rewritten_together_and_never_split():
    """Each trial is drawn to the mean of its own group, which only the coupling knows."""
    start = torch.tensor([0.0, 2.0, 10.0, 14.0])[:, None]
    victims = {"mean": torch.zeros(4, 1), "on": torch.zeros(4)}
    groups = []

    def rewrite(candidate, victim):
        groups.append(candidate["x"].shape)
        mean = candidate["x"].view(-1, 2, 1).mean(1).repeat_interleave(2, dim=0)
        return victim | {"mean": mean, "on": torch.ones_like(victim["on"])}

    problem = Problem(lambda c, v, _: (v["on"] * (c["x"] - v["mean"]).square()).sum(), {"x": start}, victims)
    found = Adam(200, 0.1).solve(problem, generator(0), coupling=Coupling(2, 1, rewrite)).best["x"][:, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 12.0, 12.0]), rtol=0, atol=0.05)
    assert all(shape[0] % 2 == 0 for shape in groups)
