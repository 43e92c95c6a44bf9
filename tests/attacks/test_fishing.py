"""Fishing: the batch shrinks to the images of one class."""

from dataclasses import dataclass, replace

import pytest
import torch
from grid import defenses

from leakward import registry
from leakward.attacks import Fishing, InvertingGradients, Status
from leakward.attacks.fishing import PartOfBatch
from leakward.attacks.reconstruction import NOT_APPLICABLE
from leakward.federated import Defense, LocalTraining, NoDefense, Reply, client_update, run_round
from leakward.federated.defense import SINGLE_GRADIENT
from leakward.metrics import psnr
from leakward.models import TaskSpec, build_task, initial_state
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

SIDE, CLASSES = 8, 4


def smooth(count, seed=1):
    coarse = torch.rand(count, 3, 4, 4, generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, SIDE, mode="bilinear")


def agreed(model="lenet", **options):
    options = {"lenet": {"channels": 4}, "mlp": {"hidden": 16}}.get(model, {}) | options
    task = build_task(TaskSpec(model, (3, SIDE, SIDE), CLASSES, options))
    return task, initial_state(task, generator(7))


def planted(attack=None, public=None, model="lenet"):
    """Return the task, the state that was sent out, and the class that is fished for."""
    task, state = (attack or Fishing()).plant(*agreed(model), public, generator(1))
    return task, state, int(state[task.classifier[0]].any(1).nonzero())


def gradient(task, state, batch):
    return client_update(task, state, batch.images, batch.labels, LocalTraining(), NoDefense(), Tape(generator(0)))


def observation(task, state, batch, recipe=None, defense=None, knowledge="aware", **threat):
    recipe = recipe or LocalTraining(batch_images=len(batch))
    round_ = run_round(task, state, batch, recipe, defense or NoDefense(), generator(3))
    return observe(round_, ThreatModel(knowledge, **threat))


def below(task, tensors):
    """Return the tensors of all layers but the last."""
    return {name: value for name, value in tensors.items() if name not in task.classifier}


@dataclass(frozen=True)
class PerImage(Defense):
    """A defence whose evidence depends on how many images are behind the message."""

    def evidence(self, message, images, recipe=SINGLE_GRADIENT):
        return replace(super().evidence(message, images, recipe), message={n: v / images for n, v in message.items()})


def one_of_class(target, count=4):
    """Return a batch of which the second image alone is of the class."""
    others = [k for k in range(CLASSES) if k != target]
    labels = [others[i % len(others)] for i in range(count)]
    labels[1] = target
    return Batch(smooth(count), torch.tensor(labels))


def test_the_gradient_of_the_layers_before_is_that_of_the_class_alone():
    task, state, target = planted()
    batch = one_of_class(target)
    alone = Batch(batch.images[1:2], batch.labels[1:2])
    of_batch, of_one = (below(task, gradient(task, state, given).tensors) for given in (batch, alone))
    for name, value in of_one.items():
        torch.testing.assert_close(4 * of_batch[name], value)
        assert value.any()


@pytest.mark.parametrize(
    "recipe",
    [LocalTraining(batch_images=4), LocalTraining(share="update", batch_images=4, learning_rate=0.01, momentum=0.9)],
    ids=["gradient", "one step"],
)
def test_what_is_matched_is_what_the_caught_image_alone_would_have_sent(recipe, monkeypatch):
    task, state, target = planted()
    batch, matched = one_of_class(target), []

    def recover(self, observations, rng, progress):
        matched.extend(observations)
        return [NOT_APPLICABLE]

    monkeypatch.setattr(InvertingGradients, "recover", recover)
    Fishing().recover([observation(task, state, batch, recipe)], generator(0))
    alone = gradient(task, matched[0].state, Batch(batch.images[1:2], batch.labels[1:2]))
    scale = 4 if recipe.share == "gradient" else 4 / recipe.learning_rate
    assert matched[0].shape == (1, 3, SIDE, SIDE)
    assert matched[0].labels.tolist() == [target]
    for name, value in alone.tensors.items():
        torch.testing.assert_close(scale * matched[0].update.tensors[name], value, rtol=1e-3, atol=1e-3)


def test_only_the_last_layer_changes_and_one_class_stays():
    task, state = agreed()
    same, sent = Fishing().plant(task, state, None, generator(1))
    assert same is task
    assert {name for name in state if not torch.equal(state[name], sent[name])} == {*task.classifier}
    weight, bias = task.classifier
    target = int(sent[weight].any(1).nonzero())
    assert torch.equal(sent[weight][target], state[weight][target])
    assert sent[bias][target] == state[bias][target]
    logits = task.forward(sent, smooth(3))[0]
    assert logits.shape == (3, CLASSES)
    assert torch.isfinite(logits).all()


def test_the_class_is_one_of_the_public_ones():
    public = Batch(smooth(3), torch.tensor([2, 2, 2]))
    assert planted(public=public)[2] == 2
    drawn = [Fishing().plant(*agreed(), None, generator(i))[1]["predictor.1.bias"].argmin() for i in range(20)]
    assert {*map(int, drawn)} == {*range(CLASSES)}


def require_caught(model, fished, gain, **settings):
    """Ask for a PSNR of the one image, and for so much less of any image from the honest model."""
    task, state, target = planted(model=model)
    batch = one_of_class(target)
    found = Fishing(**settings).recover([observation(task, state, batch)], generator(4))[0]
    quality = psnr(batch.images[[1] * 4], found.images)
    assert quality.min() > fished
    assert all(torch.equal(image, found.images[0]) for image in found.images)
    assert found.labels.tolist() == [target] * 4
    honest = observation(*agreed(model), batch, labels=True)
    matched = InvertingGradients(**settings).recover([honest], generator(4))[0]
    best = max(psnr(batch.images, image.expand_as(batch.images)).max() for image in matched.images)
    assert best < quality.min() - gain


def test_one_image_of_a_batch_comes_out_where_honest_matching_finds_none():
    require_caught("mlp", 40, 20, iterations=120)


@pytest.mark.slow
def test_one_image_of_a_batch_comes_out_of_convolutions():
    require_caught("lenet", 25, 10, iterations=300, total_variation=1e-5)


def test_two_images_of_the_class_come_out_in_turn():
    task, state, target = planted()
    batch = one_of_class(target)
    batch.labels[3] = target
    found = Fishing(iterations=3).recover([observation(task, state, batch)], generator(4))[0]
    assert torch.equal(found.images[:2], found.images[2:])
    assert not torch.equal(found.images[0], found.images[1])


def test_without_an_image_of_the_class_nothing_is_made_up():
    task, state, target = planted()
    labels = torch.tensor([k for k in range(CLASSES) if k != target])
    found = Fishing(iterations=3).recover([observation(task, state, Batch(smooth(3), labels))], generator(4))[0]
    assert found.status is Status.NON_FINITE
    assert found.images is None


def test_a_feature_threshold_leaves_one_image_of_a_batch_of_one_class():
    """The server knows the distribution of the feature best if its public images are the batch itself."""
    images, attack = smooth(6), Fishing(class_images=6, iterations=120)
    public = Batch(images, torch.full((6,), 2))
    task, state, target = planted(attack, public, "mlp")
    assert target == 2
    agreed_task, agreed_state = agreed("mlp")
    lowest = int(agreed_task.forward(agreed_state, images)[0][:, 2].argmin())
    alone = gradient(task, state, Batch(images[lowest][None], torch.tensor([2])))
    for name, value in below(task, gradient(task, state, public).tensors).items():
        torch.testing.assert_close(6 * value, alone.tensors[name])
    found = attack.recover([observation(task, state, public)], generator(4))[0]
    quality = psnr(images, found.images)
    assert quality.argmax() == lowest
    assert quality.max() > 30


def test_without_public_images_there_is_no_feature_threshold():
    _, plain, _ = planted(Fishing(class_images=6))
    _, same, _ = planted(Fishing())
    assert all(torch.equal(plain[name], same[name]) for name in plain)


@pytest.mark.parametrize("knowledge", ["unaware", "aware", "oracle"])
@pytest.mark.parametrize("defense", defenses(["group-norm"]))
def test_defences_apply_to_the_planted_model(defense, knowledge):
    made = registry.load("defenses", defense)()
    task, state = Fishing().plant(*made.install(*agreed(), generator(2)), None, generator(1))
    target = int(state[task.classifier[0]].any(1).nonzero())
    seen = observation(task, state, one_of_class(target), None, made, knowledge)
    found = Fishing(iterations=2).recover([seen], generator(4))[0]
    if defense not in {"gaussian-noise", "laplacian-noise", "dp-sgd", "learnable-perturbation"}:
        assert found.status is Status.OK
    if found.status is Status.OK:
        assert found.images.shape == seen.shape
        assert torch.isfinite(found.images).all()


def test_a_defence_sees_the_whole_batch_in_a_part_of_it():
    defense, message = PerImage(), {"a": torch.randn(50, generator=generator(0))}
    caught = Reply({}, message, {}, 1, LocalTraining())
    part, whole = PartOfBatch(defense, 8).interpret(caught), defense.evidence(message, 8)
    assert torch.equal(part.message["a"], whole.message["a"])
    assert not torch.equal(part.message["a"], defense.evidence(message, 1).message["a"])
    assert PartOfBatch(defense, 8).replay() == defense.replay()


def test_honest_models_and_adam_are_refused(victims):
    assert Fishing().recover(victims(1, "lenet", channels=2), generator(0))[0].status is Status.NOT_APPLICABLE
    task, state, target = planted()
    recipe = LocalTraining(share="update", batch_images=4, optimizer="adam")
    seen = observation(task, state, one_of_class(target), recipe)
    assert Fishing().recover([seen], generator(0))[0].status is Status.NOT_APPLICABLE
