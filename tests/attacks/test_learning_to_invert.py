"""Learning to Invert: its simulated clients, its projection, its network, and what it finds where matching fails."""

from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations

import pytest
import torch
from torch.testing import assert_close

from leakward import registry
from leakward.attacks import IDLG, LearningToInvert, Status
from leakward.attacks.learning.inverse_network import fit, nearest_order, start_network, unordered_error
from leakward.attacks.learning.simulation import as_vector, draw_clients, messages, simulate
from leakward.attacks.learning.sketch import draw_sketch
from leakward.federated import Defense, LocalTraining, NoDefense, client_update, run_round
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.models import TaskSpec, build_task, initial_state
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

SIDE = 8
SHUFFLED = LocalTraining(share="update", batch_images=2, epochs=2, minibatch=1, shuffle=True, learning_rate=0.1)


def blobs(count, seed, classes=4):
    """Bright spots on a dark ground; the class says how bright, position and width vary."""
    rng = generator(seed)
    labels = torch.randint(classes, (count,), generator=rng)
    centre = 2 + 3 * torch.rand(count, 2, generator=rng)
    width = 1.5 + torch.rand(count, generator=rng)
    grid = torch.arange(SIDE, dtype=torch.float32)
    away = (grid[:, None] - centre[:, 0, None, None]) ** 2 + (grid - centre[:, 1, None, None]) ** 2
    spots = (-away / (2 * width[:, None, None] ** 2)).exp() * (0.4 + 0.6 * labels[:, None, None] / (classes - 1))
    return Batch(spots[:, None], labels)


def rounds(count, defense=None, knowledge="aware", recipe=None):
    """Return private batches, what is seen of them, and the public images."""
    recipe = recipe or LocalTraining()
    task = build_task(TaskSpec("lenet", (1, SIDE, SIDE), 4, {"channels": 12}))
    state, public = initial_state(task, generator(1)), blobs(300, 5)
    batches, seen = [], []
    for i in range(count):
        batches.append(blobs(recipe.batch_images, 1000 + i))
        round_ = run_round(task, state, batches[-1], recipe, defense or NoDefense(), generator(i))
        seen.append(observe(round_, ThreatModel(knowledge, public=True), public))
    return batches, seen, public


@dataclass(frozen=True)
class Halved(Defense):
    """A defence that sends half the message, which its evidence doubles."""

    def on_update(self, message, private, tape):
        return {name: value / 2 for name, value in message.items()}, private

    def evidence(self, message, images, recipe=SINGLE_GRADIENT):
        return replace(super().evidence(message, images, recipe), message={n: 2 * v for n, v in message.items()})


def psnr(images, batches):
    """Return the mean over updates, each image compared with the one it stands for."""
    return torch.stack(
        [
            -10 * (one - batch.images).square().flatten(1).mean(1).log10().mean()
            for one, batch in zip(images, batches, strict=True)
        ]
    ).mean()


def test_simulated_clients_hold_mirrored_public_images_with_their_labels():
    public = Batch(torch.rand(5, 1, 4, 4, generator=generator(0)), torch.tensor([3, 1, 0, 2, 1]))
    clients = draw_clients(public, 200, 2, generator(1))
    assert len(clients) == 200
    images, labels = clients.images(slice(None)), clients.labels(slice(None))
    assert images.shape == (200, 2, 1, 4, 4)
    forms = torch.stack([public.images.flip(dims) for dims in ((), (-1,), (-2,), (-1, -2))])
    same = (images[:, :, None, None] == forms).flatten(4).all(-1)
    assert same.any((2, 3)).all()
    assert same.any(0).any(0).all()
    assert torch.equal(public.labels[same.any(2).int().argmax(-1)], labels)
    some = torch.tensor([7, 3])
    assert torch.equal(clients.images(some), images[some])


@pytest.mark.parametrize("recipe", [LocalTraining(batch_images=2), SHUFFLED], ids=["gradient", "shuffled"])
def test_a_simulated_message_is_that_of_the_client(recipe):
    _, seen, public = rounds(1, recipe=recipe)
    images, labels = public.images[:6].unflatten(0, (3, 2)), public.labels[:6].unflatten(0, (3, 2))
    together = messages(seen[0], images, labels, generator(4))
    rng = generator(4)
    orders = [torch.stack([torch.rand(2, generator=rng) for _ in range(3)]) for _ in range(recipe.epochs)]
    for i in range(3):
        tape = Tape(values=[order[i] for order in orders] if recipe.shuffle else [])
        alone = client_update(seen[0].task, seen[0].state, images[i], labels[i], recipe, NoDefense(), tape).tensors
        assert_close({name: value[i] for name, value in together.items()}, alone, rtol=1e-4, atol=1e-6)


def test_clients_of_large_networks_come_one_by_one_to_the_same(monkeypatch):
    """With no draws of their own, so that the order of the draws is of no account."""
    _, seen, public = rounds(1)
    clients = draw_clients(public, 5, 1, generator(1))
    monkeypatch.setattr("leakward.attacks.learning.simulation.LARGE", 0)
    sketch, features = simulate(seen[0], clients, 30, generator(2), lambda _: None)
    together = messages(seen[0], clients.images(slice(0, 5)), clients.labels(slice(0, 5)), generator(3))
    vectors = [as_vector(seen[0], {name: value[i] for name, value in together.items()}) for i in range(5)]
    assert_close(features, sketch(torch.stack(vectors)), rtol=1e-4, atol=1e-4)


def test_every_simulated_client_has_noise_of_its_own():
    defense = registry.load("defenses", "gaussian-noise")(std=0.1)
    _, seen, public = rounds(1, defense)
    images, labels = public.images[:1].expand(40, 1, 1, SIDE, SIDE), public.labels[:1].expand(40, 1)
    sent = messages(seen[0], images, labels, generator(4))
    spread = torch.cat([value.flatten(1) for value in sent.values()], dim=1).std(0)
    assert_close(spread.mean().item(), 0.1, rtol=0.05, atol=0)
    _, unaware, _ = rounds(1, defense, "unaware")
    plain = messages(unaware[0], images, labels, generator(4))
    assert_close({name: value[0] for name, value in plain.items()}, {name: value[1] for name, value in plain.items()})


def test_what_is_learnt_is_seen_as_the_observed_message_is():
    defense = Halved()
    _, seen, _ = rounds(1, defense)
    made = defense.evidence(seen[0].update.tensors, 1).message
    assert_close(as_vector(seen[0], seen[0].update.tensors), torch.cat([value.flatten() for value in made.values()]))
    assert not torch.equal(made["predictor.1.weight"], seen[0].update.tensors["predictor.1.weight"])


def test_short_vectors_are_only_brought_to_one_size():
    vectors = torch.randn(50, 5, generator=generator(0)) * torch.tensor([100.0, 100, 1, 1, 1])
    vectors = torch.cat([vectors, torch.zeros(50, 2)], dim=1)
    sketch = draw_sketch(vectors, [2, 3, 2], 7, generator(1))
    found = sketch(vectors)
    assert found.shape == (50, 7)
    for part in found[:, :5].split([2, 3], dim=1):
        assert_close(part.square().mean().item(), 1.0)
    assert (found[:, 5:] == 0).all()


def test_a_projection_keeps_inner_products_on_average():
    """E <Sx, Sy> = <x, y>, with a variance of at most (|x|^2 |y|^2 + <x, y>^2) / f, as of a count sketch."""
    x, y = torch.randn(2, 1, 103, generator=generator(0))
    examples = torch.ones(1, 103)
    both = torch.cat([x, y])
    found = torch.stack([draw_sketch(examples, [103], 20, generator(i))(both).prod(0).sum() for i in range(1000)])
    bound = (x.square().sum() * y.square().sum() + (x * y).sum() ** 2) / 20
    assert abs(found.mean() - (x * y).sum()) < 4 * (bound / 1000).sqrt()
    assert found.var() < 1.3 * bound


def test_every_feature_has_equally_many_entries():
    sketch = draw_sketch(torch.ones(1, 103), [103], 20, generator(0))
    counts = sketch(torch.eye(103)).abs().sum(0)
    assert sorted(set(counts.tolist())) == [5.0, 6.0]
    assert counts.sum() == 103


def test_the_error_of_a_set_is_that_of_its_best_order():
    found, images = torch.rand(2, 4, 3, 1, 2, 2, generator=generator(0))
    best = [
        min((one - other[list(order)]).square().mean() for order in permutations(range(3)))
        for one, other in zip(found, images, strict=True)
    ]
    assert_close(unordered_error(found, images), torch.stack(best).mean())
    assert_close(unordered_error(images[:, [2, 0, 1]], images), torch.tensor(0.0))
    assert nearest_order(images[:, [2, 0, 1]], images).tolist() == [[2, 0, 1]] * 4


def test_the_network_begins_at_the_mean_and_learns():
    mean = torch.rand(2, 1, 2, 2, generator=generator(0))
    network = start_network(8, 32, mean, generator(1))
    features = torch.randn(64, 8, generator=generator(2))
    with torch.no_grad():
        assert_close(network(features), mean.clamp(1e-3, 1 - 1e-3).expand(64, *mean.shape))
    images = features.sigmoid().view(64, 2, 1, 2, 2)
    fractions = []
    fit(network, lambda _: (features, images), 300, 1e-2, generator(3), fractions.append)
    with torch.no_grad():
        assert unordered_error(network(features), images) < 1e-3 < images.var() / 20
    assert fractions[-1] == 1


SMALL = LearningToInvert(iterations=150, batch=32, simulated=800, hidden=64, learning_rate=3e-3)
DEFENSES = {
    "none": NoDefense(),
    "gaussian-noise": registry.load("defenses", "gaussian-noise")(std=0.02),
    "pruning": registry.load("defenses", "pruning")(ratio=0.99),
}


@cache
def recovered(defense, knowledge="aware"):
    """Return private batches, what is seen of them, and what the attack finds."""
    batches, seen, _ = rounds(6, DEFENSES[defense], knowledge)
    found = SMALL.recover(seen, generator(0))
    assert all(one.status is Status.OK for one in found)
    return batches, seen, found


@pytest.mark.parametrize(("defense", "gain"), [("none", 9), ("gaussian-noise", 2.5), ("pruning", 8)])
def test_it_sees_through_defences_that_stop_matching(defense, gain):
    """Gain in dB over the mean of the public images, which needs no message; without a defence idlg finds them all."""
    batches, seen, found = recovered(defense)
    prior = psnr([seen[0].public.images.mean(0, keepdim=True)] * 6, batches)
    assert psnr([one.images for one in found], batches) > prior + gain
    matched = psnr([one.images for one in IDLG(evaluations=40).recover(seen, generator(0))], batches)
    assert matched > prior + 20 if defense == "none" else matched < prior


def test_an_attacker_who_knows_of_the_defence_does_better():
    batches, _, aware = recovered("pruning")
    _, _, unaware = recovered("pruning", "unaware")
    assert psnr([one.images for one in aware], batches) > psnr([one.images for one in unaware], batches) + 8


def test_the_images_of_a_batch_stand_beside_their_labels():
    """One image of the dark and one of the bright class, in either order."""
    _, seen, public = rounds(1)
    pool = blobs(60, 77)
    dark, bright = (pool.images[pool.labels == label] for label in (0, 3))
    batches, observed = [], []
    for i in range(6):
        order = torch.tensor([[0, 1], [1, 0]][i % 2])
        batches.append(Batch(torch.stack([dark[i], bright[i]])[order], torch.tensor([0, 3])[order]))
        round_ = run_round(
            seen[0].task, seen[0].state, batches[-1], LocalTraining(batch_images=2), NoDefense(), generator(i)
        )
        observed.append(observe(round_, ThreatModel(labels=True, public=True), public))
    found = SMALL.recover(observed, generator(0))
    assert all(torch.equal(one.labels, batch.labels) for one, batch in zip(found, batches, strict=True))
    usual = torch.stack([public.images[public.labels == label].mean(0) for label in (0, 3)])
    prior = psnr([usual if batch.labels[0] == 0 else usual.flip(0) for batch in batches], batches)
    assert psnr([one.images for one in found], batches) > prior + 2


def test_updates_from_different_weights_have_networks_of_their_own():
    _, first, public = rounds(1)
    task = first[0].task
    other = initial_state(task, generator(9))
    batch = blobs(1, 2000)
    second = observe(
        run_round(task, other, batch, LocalTraining(), NoDefense(), generator(0)), ThreatModel(public=True), public
    )
    fractions = []
    found = SMALL.recover([first[0], second, first[0]], generator(0), fractions.append)
    assert torch.equal(found[0].images, found[2].images)
    assert psnr([found[1].images], [batch]) > psnr([public.images.mean(0, keepdim=True)], [batch]) + 3
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
