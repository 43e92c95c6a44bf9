"""FedAvg inversion: its parts against closed forms and the client, and what it finds that one order cannot."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from leakward import registry
from leakward.attacks import FedAvgInversion, InvertingGradients
from leakward.attacks.fedavg_inversion import unknown_orders, unroll
from leakward.attacks.reading.label_counts import explaining_labels, infer_labels
from leakward.attacks.reading.labels import counted_labels
from leakward.attacks.searching.epoch_sets import assemble, mean_disagreement
from leakward.attacks.searching.layerwise import layer_factors, layerwise_distance
from leakward.attacks.searching.matching import cosine_distance
from leakward.attacks.searching.replay import gather
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

SHUFFLED = LocalTraining(share="update", batch_images=4, epochs=3, minibatch=2, shuffle=True, learning_rate=0.1)


def smooth(count, side, seed):
    coarse = torch.rand(count, 1, 3, 3, generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)


def make(recipe=SHUFFLED, defense=None, threat=None, seed=10, labels=None, side=8, channels=6):
    """Return one round on smooth images, and what is seen of it."""
    task = build_task(TaskSpec("lenet", (1, side, side), 4, {"channels": channels}))
    known = torch.arange(recipe.batch_images) % 4 if labels is None else torch.tensor(labels)
    batch = Batch(smooth(len(known), side, seed), known)
    round_ = run_round(task, initial_state(task, generator(1)), batch, recipe, defense or NoDefense(), generator(seed))
    return round_, observe(round_, threat or ThreatModel(labels=True))


def psnr(images, batch):
    """Return the mean over images, each compared with the one of its own label."""
    return (-10 * (images - batch.images).square().flatten(1).mean(1).log10()).mean()


def test_sets_of_the_same_images_in_any_order_agree():
    images = torch.rand(4, 1, 3, 3, generator=generator(0))
    sets = torch.stack([images[torch.randperm(4, generator=generator(i))] for i in range(3)])
    assert_close(mean_disagreement(sets), torch.tensor(0.0))
    assert mean_disagreement(sets[:1]) == 0


def test_disagreement_is_the_mean_over_all_pairs_of_epochs():
    sets = torch.rand(3, 4, 1, 2, 2, generator=generator(0), dtype=torch.float64)
    pairs = [(sets[i].mean(0) - sets[j].mean(0)).square().mean() for i, j in product(range(3), repeat=2)]
    assert_close(mean_disagreement(sets), torch.stack(pairs).mean())
    assert gradcheck(mean_disagreement, sets.requires_grad_())


def test_epochs_are_matched_within_labels_and_averaged():
    labels = torch.tensor([0, 0, 1, 1])
    images = torch.rand(4, 1, 4, 4, generator=generator(0))
    noise = 0.01 * torch.randn(3, 4, 1, 4, 4, generator=generator(1))
    orders = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3], [1, 0, 3, 2]])
    sets = (images + noise)[torch.arange(3)[:, None], orders]
    back = torch.stack([noise[e][orders[e]][orders[e].argsort()] for e in range(3)]).mean(0)
    assert_close(assemble(sets, labels), images + back)
    swapped = torch.stack([images, images.flip(0)])
    found = assemble(swapped, labels)
    assert not torch.allclose(found, images, atol=0.05)
    assert_close(assemble(swapped, torch.zeros(4, dtype=torch.long)), images)


RECIPES = {
    "sgd": SHUFFLED,
    "momentum": replace(SHUFFLED, momentum=0.9, weight_decay=0.1),
    "adam": replace(SHUFFLED, optimizer="adam", learning_rate=1e-2),
    "one step": replace(SHUFFLED, minibatch=0, epochs=1),
}


@pytest.mark.parametrize("defense", ["none", "clipping", "dp-sgd", "learnable-perturbation"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_all_epochs_in_one_are_the_epochs(recipe, defense):
    """With each epoch's images in its realised order the replay gives the message that was sent."""
    silent = {"dp-sgd": {"noise_multiplier": 0.0}, "learnable-perturbation": {"std": 0.0, "coefficient": 0.0}}
    private, seen = make(recipe, registry.load("defenses", defense)(**silent.get(defense, {})))
    assert unknown_orders(seen) == recipe.epochs
    orders = [value.argsort() for value in private.tape.values if value.shape == (4,)]
    images = torch.cat([private.batch.images[order] for order in orders])
    labels = torch.cat([private.batch.labels[order] for order in orders])
    victims = gather([unroll(seen)], restarts=1, averaged=1, labels=False)
    draws = victims.replay.draw(generator(0))
    found = victims.replay.message(images, labels, {}, draws)
    assert_close(found, private.update.tensors, rtol=1e-4, atol=1e-6)


def test_where_the_order_is_known_or_epochs_end_unevenly_one_set_stands_for_all():
    assert unknown_orders(make()[1]) == 3
    assert unknown_orders(make(threat=ThreatModel("oracle"))[1]) == 0
    assert unknown_orders(make(replace(SHUFFLED, shuffle=False))[1]) == 0
    assert unknown_orders(make(replace(SHUFFLED, minibatch=3))[1]) == 0
    assert not FedAvgInversion().can_attack(make(LocalTraining(batch_images=4))[1])


@pytest.mark.parametrize(
    ("recipe", "threat"),
    [
        (replace(SHUFFLED, minibatch=3), ThreatModel()),
        (replace(SHUFFLED, shuffle=False), ThreatModel()),
        (SHUFFLED, ThreatModel("oracle")),
        (RECIPES["adam"], ThreatModel()),
    ],
    ids=["uneven", "in order", "oracle", "adam"],
)
def test_every_recipe_is_attacked(recipe, threat):
    _, seen = make(recipe, threat=threat)
    [found] = FedAvgInversion(iterations=2).recover([seen], generator(0))
    assert found.images.shape == (4, 1, 8, 8)
    assert found.evaluations == 2


def test_tensors_are_weighed_by_layer_and_by_trust():
    names = ("a.weight", "a.bias", "b.weight")
    found, target = ({n: torch.randn(5, generator=generator(i)) for i, n in enumerate(names, 3 * k)} for k in (0, 1))
    factors = layer_factors(names, 2.0)
    assert list(factors.values()) == pytest.approx([1, 1, 0.1353353])
    apart = torch.stack([cosine_distance({n: found[n]}, {n: target[n]}) for n in names])
    share = torch.tensor([*factors.values()])
    assert_close(layerwise_distance(found, target, factors), (share * apart).sum() / share.sum())
    trust = {n: torch.full((5,), value) for n, value in zip(names, (0.5, 0.0, 1.0), strict=True)}
    trusted = (share * torch.tensor([0.5, 0.0, 1.0]) * apart).sum() / share.sum()
    assert_close(layerwise_distance(found, target, factors, trust), trusted)
    less = {n: value / 10 for n, value in trust.items()}
    assert_close(layerwise_distance(found, target, factors, less), trusted)
    nothing = {n: torch.zeros(5) for n in names}
    assert_close(layerwise_distance(found, target, factors, nothing), torch.tensor(0.0))
    assert_close(layerwise_distance(target, target, factors), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.01])
def test_labels_are_found_that_explain_the_change_even_if_it_was_shortened(scale):
    labels = torch.tensor([0, 2, 2, 2, 5, 5])
    confidence = torch.tensor([0.2, 0.1, 0.3, 0.1, 0.2, 0.1])
    change = scale * (confidence - torch.bincount(labels, minlength=6) / 6)
    assert torch.equal(explaining_labels(change, confidence, 6), labels)


@pytest.mark.parametrize(("defense", "momentum", "most"), [("none", 0.0, 0), ("none", 0.9, 2), ("clipping", 0.0, 3)])
def test_labels_are_counted_from_several_local_steps(defense, momentum, most):
    """Of 48 images; the rule by signs, which takes all images of a class to weigh alike, errs more often."""
    clipped = {"max_norm": 0.05} if defense == "clipping" else {}
    recipe = replace(SHUFFLED, batch_images=8, learning_rate=0.03 * (1 - momentum), momentum=momentum)
    wrong = by_signs = 0
    for i in range(6):
        labels = torch.randint(4, (8,), generator=generator(i)).tolist()
        _, seen = make(recipe, registry.load("defenses", defense)(**clipped), ThreatModel(), 20 + i, labels)
        wrong += missed(labels, infer_labels(seen))
        by_signs += missed(labels, counted_labels(seen.update.tensors[seen.task.classifier[1]], 8))
    assert wrong <= most
    assert by_signs >= 6


@pytest.mark.parametrize("model", ["lenet", "resnet18"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_labels_are_counted_from_one_gradient(model, mode):
    """In the mode of the client: batch statistics change the confidence that a fresh network has in every class."""
    task = build_task(TaskSpec(model, (1, 16, 16), 4))
    state, recipe = initial_state(task, generator(1)), LocalTraining(batch_images=8, mode=mode)
    wrong = 0
    for i in range(4):
        labels = torch.randint(4, (8,), generator=generator(i))
        batch = Batch(smooth(8, 16, i), labels)
        round_ = run_round(task, state, batch, recipe, NoDefense(), generator(i))
        seen = observe(round_, ThreatModel(public=True), Batch(smooth(64, 16, 100), torch.zeros(64, dtype=torch.long)))
        wrong += missed(labels.tolist(), infer_labels(seen))
    assert wrong <= 1


def missed(labels, found):
    return (Counter(labels) - Counter(found.tolist())).total()


def test_it_finds_what_one_order_for_all_epochs_does_not():
    """More than the best flat images, which need no message; replaying orders drawn anew stays below those."""
    recipe = replace(SHUFFLED, learning_rate=0.5)
    private, seen = zip(*(make(recipe, seed=seed) for seed in (11, 12)), strict=True)
    settings = {"iterations": 70, "total_variation": 1e-2}
    found, one_order = (
        torch.stack(
            [
                psnr(one.images, made.batch)
                for one, made in zip(attack.recover(seen, generator(0)), private, strict=True)
            ]
        ).mean()
        for attack in (FedAvgInversion(**settings), InvertingGradients(**settings))
    )
    flat = torch.stack([-10 * made.batch.images.var((1, 2, 3), correction=0).log10().mean() for made in private]).mean()
    assert found > flat + 0.5
    assert found > one_order + 3
