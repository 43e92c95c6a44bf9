from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from leakward.defenses import InstaHide
from leakward.defenses.instahide import bounded
from leakward.errors import DefenseError
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.federated.defense import Step
from leakward.tape import Tape
from leakward.types import generator


def hidden(client, defense, tape):
    return defense.on_step(client.task, {}, Step({}, client.images, client.labels), tape)


def loop(client, sizes, orders, flips, middle):
    """Mix image by image and mirror pixel by pixel."""
    images, labels = [], []
    for i, size in enumerate(sizes):
        share = size / size.sum()
        partners = [i, *(int(order[i]) for order in orders)]
        image = sum(s * client.images[p] for s, p in zip(share, partners, strict=True))
        for position in flips[i].nonzero().tolist():
            c, y, x = position
            image[c, y, x] = 2 * middle[c] - image[c, y, x]
        label = torch.zeros(4)
        for s, p in zip(share, partners, strict=True):
            label[client.labels[p]] += s
        images.append(image)
        labels.append(label)
    return torch.stack(images), torch.stack(labels)


@pytest.mark.parametrize("middle", [(), (0.2, 0.5, 0.7)])
def test_it_equals_a_loop_over_images_and_pixels(middle, lenet):
    client = lenet._replace(task=replace(lenet.task, spec=replace(lenet.task.spec, mean=middle)))
    tape = Tape(generator(2))
    step = hidden(client, InstaHide(3, 1.0), tape)
    normal, first, second, coin = tape.values
    images, labels = loop(
        client, normal.abs(), (first.argsort(), second.argsort()), coin >= 0.5, middle or (0.5, 0.5, 0.5)
    )
    assert_close(step.images, images)
    assert_close(step.labels, labels)
    assert 0.4 < float((coin >= 0.5).double().mean()) < 0.6


def test_large_coefficients_are_moved_towards_the_mean_and_others_stay():
    found = bounded(torch.tensor([[7.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]]), 0.55)
    # 0.25 + (0.7 - 0.25) 2/3 = 0.55 and 0.25 + (0.1 - 0.25) 2/3 = 0.15
    assert_close(found, torch.tensor([[0.55, 0.15, 0.15, 0.15], [0.4, 0.2, 0.2, 0.2]]))


@pytest.mark.parametrize("bound", [0.25, 0.65, 1.0])
def test_coefficients_sum_to_one_and_keep_the_bound(bound):
    found = bounded(torch.randn(1000, 4, generator=generator(0)).abs(), bound)
    assert_close(found.sum(1), torch.ones(1000))
    assert found.min() >= 0
    assert found.max() <= bound + 1e-6


def test_absolute_values_undo_the_mirroring(lenet):
    """What broke it: the distance from the middle is that of the mixture, whatever the signs."""
    tape = Tape(generator(2))
    step = hidden(lenet, InstaHide(), tape)
    *mixing, coin = tape.values
    plain = hidden(lenet, InstaHide(), Tape(values=[*mixing, torch.zeros_like(coin)]))
    assert not torch.allclose(step.images, plain.images)
    assert_close((step.images - 0.5).abs(), (plain.images - 0.5).abs())


def test_a_single_image_is_refused(lenet):
    with pytest.raises(DefenseError, match="InstaHide: expected at least 2 images in every step, got 1"):
        client_update(
            lenet.task,
            lenet.state,
            lenet.images[:1],
            lenet.labels[:1],
            LocalTraining(),
            InstaHide(),
            Tape(generator(0)),
        )


def test_the_attacker_replays_the_undefended_client():
    assert InstaHide().replay() == NoDefense()
