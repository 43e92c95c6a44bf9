"""Trap weights: images that some unit sees alone come out exactly."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from grid import defenses

from leakward import registry
from leakward.attacks import CuriousAbandonHonesty, Status
from leakward.data import load_data
from leakward.federated import LocalTraining, NoDefense, run_round
from leakward.metrics import assign, psnr
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

STEP = LocalTraining(share="update", batch_images=8, learning_rate=0.01, momentum=0.9, weight_decay=1e-3)
LAYER = "encoder.1"


@cache
def phantom():
    data = load_data("phantom", size=16, count=256)
    return data, Batch(*data.subset("train")), Batch(*data.subset("val"))


def agreed(model="mlp", mean=(), std=(), **options):
    data, _, _ = phantom()
    options = options or ({"hidden": 384} if model == "mlp" else {})
    task = build_task(TaskSpec(model, data.image_shape, len(data.classes), options, mean, std))
    return task, initial_state(task, generator(7))


def attack(recipe=None, defense=None, knowledge="aware", count=8, **options):
    _, private, public = phantom()
    batch, attack = Batch(private.images[:count], private.labels[:count]), CuriousAbandonHonesty()
    defense = defense or NoDefense()
    task, state = attack.plant(*defense.install(*agreed(**options), generator(2)), public, generator(1))
    recipe = recipe or LocalTraining(batch_images=count)
    round_ = run_round(task, state, batch, recipe, defense, generator(3))
    return attack.recover([observe(round_, ThreatModel(knowledge))], generator(4))[0], batch


def compare(found, batch):
    """Return the PSNR of every image, and the labels in the order of the batch."""
    order = assign(batch.images, found.images)
    return psnr(batch.images, found.images[order]), found.labels[order]


@pytest.mark.parametrize("recipe", [LocalTraining(batch_images=8), STEP], ids=["gradient", "one step"])
@pytest.mark.parametrize(
    "normalisation", [{}, {"mean": (0.8, 0.7, 0.6), "std": (0.2, 0.15, 0.3)}], ids=["raw", "normal"]
)
def test_most_images_of_a_batch_come_out_exactly_with_their_labels(normalisation, recipe):
    quality, named = compare(*attack(recipe, **normalisation))
    _, private, _ = phantom()
    assert (quality > 60).sum() >= 6
    assert torch.equal(named[quality > 60], private.labels[:8][quality > 60])


def test_several_local_steps_still_give_images_away():
    quality, _ = compare(*attack(replace(STEP, epochs=2, minibatch=4, momentum=0.0, weight_decay=0.0)))
    assert (quality > 40).sum() >= 4


def test_an_image_that_every_unit_sees_with_others_is_not_called_exact():
    """Of 16 units, few see one image alone; what is mixed has a larger objective."""
    few, batch = attack(hidden=16)
    many, _ = attack()
    assert (compare(few, batch)[0] > 60).sum() < 4
    assert many.objective < few.objective


def test_rows_are_mirrored_halves_that_a_tenth_of_the_public_images_pass():
    task, state = agreed()
    _, _, public = phantom()
    planted, sent = CuriousAbandonHonesty(passing=0.1).plant(task, state, public, generator(1))
    assert planted is task
    changed = {name for name in state if not torch.equal(sent[name], state[name])}
    assert changed == {f"{LAYER}.weight", f"{LAYER}.bias"}
    weight = sent[f"{LAYER}.weight"]
    assert torch.equal((weight < 0).sum(1), torch.full((384,), weight.shape[1] // 2))
    negative, positive = weight.clamp(max=0).neg().sort(1).values, weight.clamp(min=0).sort(1).values
    torch.testing.assert_close(positive / positive.sum(1, keepdim=True), negative / negative.sum(1, keepdim=True))
    passed = (task.normalize(public.images).flatten(1) @ weight.T + sent[f"{LAYER}.bias"]) > 0
    assert float(passed.float().mean()) == pytest.approx(0.1, abs=0.01)
    logits = planted.forward(sent, public.images[:3])[0]
    assert logits.shape == (3, task.spec.num_classes)
    assert torch.isfinite(logits).all()


def test_without_public_images_traps_fit_noise():
    task, state = agreed()
    attack = CuriousAbandonHonesty(passing=0.2, brightness=0.4, contrast=0.2)
    _, sent = attack.plant(task, state, None, generator(1))
    noise = (0.4 + 0.2 * torch.randn(200, *task.spec.input_shape, generator=generator(2))).clamp(0, 1)
    passed = (noise.flatten(1) @ sent[f"{LAYER}.weight"].T) > 0
    assert float(passed.float().mean()) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("model", ["lenet", "convnet"])
def test_networks_without_a_layer_for_traps_are_left_alone(model):
    task, state = agreed(model, **({"channels": 2} if model == "lenet" else {"width": 2}))
    assert CuriousAbandonHonesty().plant(task, state, None, generator(1)) == (task, state)
    _, private, _ = phantom()
    batch = Batch(private.images[:1], private.labels[:1])
    round_ = run_round(task, state, batch, LocalTraining(), NoDefense(), generator(0))
    found = CuriousAbandonHonesty().recover([observe(round_, ThreatModel())], generator(0))[0]
    assert found.status is Status.NOT_APPLICABLE


def test_honest_weights_and_adam_are_refused(victims):
    honest = victims(1, "mlp", hidden=64)
    assert CuriousAbandonHonesty().recover(honest, generator(0))[0].status is Status.NOT_APPLICABLE
    found, _ = attack(LocalTraining(share="update", batch_images=8, optimizer="adam"))
    assert found.status is Status.NOT_APPLICABLE


UNFIT = {"learnable-perturbation", "variational-bottleneck", "group-norm"}
"""Defences for which a fully connected network lacks maps or BatchNorm, which they say of the agreed one as well."""


@pytest.mark.parametrize("knowledge", ["unaware", "aware", "oracle"])
@pytest.mark.parametrize("defense", defenses(UNFIT))
def test_defences_apply_to_trap_weights(defense, knowledge):
    found, _ = attack(defense=registry.load("defenses", defense)(), knowledge=knowledge, count=3, hidden=64)
    assert found.status is Status.OK
    assert torch.isfinite(found.images).all()


def test_clipping_leaves_images_and_labels_as_they_are():
    quality, named = compare(*attack(defense=registry.load("defenses", "clipping")(max_norm=0.1)))
    _, private, _ = phantom()
    assert (quality > 60).sum() >= 6
    assert torch.equal(named[quality > 60], private.labels[:8][quality > 60])


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_a_share_is_between_none_and_all(bad):
    from leakward.errors import PlanError

    with pytest.raises(PlanError, match=r"passing=.*a number in \(0, 1\)"):
        CuriousAbandonHonesty(passing=bad)
