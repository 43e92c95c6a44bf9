import math
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from leakward.data import load_data
from leakward.defenses import ATS, transforms
from leakward.defenses.ats_search import accuracy_score, privacy_score, search, separation
from leakward.errors import DefenseError
from leakward.federated.defense import Step
from leakward.models import TaskSpec, build_task, initial_state
from leakward.tape import Tape
from leakward.types import Batch, generator


@pytest.fixture(scope="module")
def site():
    data = load_data("phantom", count=64)
    return build_task(TaskSpec("lenet", data.image_shape, len(data.classes), {"channels": 2})), data


def stepped(images, defense, tape):
    labels = torch.zeros(len(images), dtype=torch.long)
    return defense.on_step(build_task(TaskSpec("mlp", (3, 8, 8), 4)), {}, Step({}, images, labels), tape)


def test_transforms_come_one_after_the_other():
    images, tape = torch.rand(3, 3, 8, 8, generator=generator(0)), Tape(generator(1))
    found = stepped(images, ATS("3-1-7"), tape).images
    across, contrast, down = tape.values
    expected = transforms.apply(3, images, Tape(values=[across]))
    expected = transforms.apply(1, expected, Tape(values=[contrast]))
    expected = transforms.apply(7, expected, Tape(values=[down]))
    assert torch.equal(found, expected)


def test_of_several_policies_every_image_gets_the_one_drawn():
    images, tape = torch.rand(40, 3, 8, 8, generator=generator(0)), Tape(generator(1))
    found = stepped(images, ATS("29+11-11+41"), tape).images
    drawn = (3 * tape.values[-1]).floor().long().tolist()
    assert {*drawn} == {0, 1, 2}
    for i, choice in enumerate(drawn):
        one = images[i : i + 1]
        for number in ((29,), (11, 11), (41,))[choice]:
            one = transforms.apply(number, one, Tape())
        assert_close(found[i : i + 1], one)


def test_a_policy_to_be_searched_has_to_be_prepared():
    with pytest.raises(DefenseError, match=r"ATS: .*call prepare first"):
        stepped(torch.rand(1, 3, 8, 8), ATS(candidates=2), Tape(generator(0)))


def test_the_attacker_takes_moves_for_positive_and_leaves_contrast_alone():
    images = torch.rand(3, 3, 8, 8, generator=generator(0))
    tape = Tape()
    found = stepped(images, ATS("3-1-7").replay(), tape).images
    assert tape.draws == []
    positive = Tape(values=[torch.ones(3)] * 2)
    assert torch.equal(found, stepped(images, ATS("3-7"), positive).images)


def test_an_attacker_who_draws_the_policy_draws_it_for_every_image():
    images, tape = torch.rand(20, 3, 8, 8, generator=generator(0)), Tape(generator(1))
    found = stepped(images, ATS("3-7+29").replay(), tape).images
    [drawn] = tape.values
    moved = stepped(images, ATS("3-7").replay(), Tape()).images
    assert_close(found, torch.where((drawn < 0.5)[:, None, None, None], moved, 1 - images))


def test_separation_by_hand():
    """Of two opposed rows the correlations are [[1, -1], [-1, 1]], with eigenvalues 0 and 2."""
    found = separation(torch.tensor([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]]))
    assert_close(found, -(math.log(1e-5) + 1e5 + math.log(2 + 1e-5) + 1 / (2 + 1e-5)), rtol=1e-5, atol=0)
    apart = separation(torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]))
    assert_close(apart, -2.0, rtol=0, atol=1e-4)


def test_the_privacy_score_equals_a_loop(site):
    task, data = site
    state = initial_state(task, generator(0))
    batch = Batch(data.images[:2], data.labels[:2])
    found = privacy_score(task, state, batch, (1, 20), generator(3))
    rng = generator(3)
    images = batch.images
    for number in (1, 20):
        images = transforms.apply(number, images, Tape(rng))
    noise = torch.rand(images.shape, generator=rng)

    def gradient(image, label):
        own = {name: value.clone().requires_grad_() for name, value in state.items()}
        loss = task.loss(task.forward(own, image[None])[0], label[None])
        return torch.autograd.grad(loss, [own[name] for name in task.parameter_names])

    areas = []
    for image, label, start in zip(images, batch.labels, noise, strict=True):
        target, curve = gradient(image, label), []
        for i in range(21):
            other = gradient(i / 20 * image + (1 - i / 20) * start, label)
            angles = [float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(other, target, strict=True)]
            curve.append(sum(angles) / len(angles))
        assert curve[-1] == pytest.approx(1)
        areas.append(sum((a + b) / 2 for a, b in pairwise(curve)) / 20)
    assert found == pytest.approx(sum(areas) / 2, rel=1e-4)


def test_the_search_takes_the_most_private_of_the_more_useful_half(site, monkeypatch):
    from leakward.defenses import ats_search

    monkeypatch.setattr(ats_search, "accuracy_score", lambda task, state, batch, policy, rng: policy[0])
    tried = []
    monkeypatch.setattr(ats_search, "privacy_score", lambda t, s, b, policy, rng: tried.append(policy) or -policy[1])
    found = search(*site, 9, generator(0))
    assert len(tried) == 5
    assert list(found) == max(tried, key=lambda policy: policy[1])


def test_prepare_finds_a_policy_that_can_be_applied(site):
    task, data = site
    found = ATS(candidates=2).prepare(task, data, generator(0))
    assert found == ATS(candidates=2).prepare(task, data, generator(0))
    assert found.candidates == 0
    images = stepped(torch.rand(2, 3, 8, 8), found, Tape(generator(0))).images
    assert torch.isfinite(images).all()
    assert ATS().prepare(task, data, generator(0)) == ATS()


def test_scores_are_finite_even_where_every_pixel_is_lost(site):
    task, data = site
    state = initial_state(task, generator(0))
    batch = Batch(torch.zeros_like(data.images[:4]), data.labels[:4])
    for score in (accuracy_score, privacy_score):
        assert math.isfinite(score(task, state, batch, (37, 3, 3), generator(0)))
