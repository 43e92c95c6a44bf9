"""The ensemble: it runs what applies, and keeps what the attacker finds most likely."""

from dataclasses import replace

import pytest
import torch

from leakward import registry
from leakward.attacks import Ensemble, InvertingGradients, LearningToInvert, Reconstruction, Status
from leakward.attacks.searching.likelihood import Judge
from leakward.data import load_data
from leakward.defenses import GaussianNoise
from leakward.federated import LocalTraining, run_round
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator

PUBLIC = ThreatModel(public=True)


def judged(judge, images, labels):
    return judge.judged(0, Reconstruction(images, labels, 0.0, Status.OK))[0].objective


def test_members_are_registered_attacks_of_an_honest_server():
    for name, member in Ensemble().members().items():
        assert isinstance(member, registry.load("attacks", name.partition("(")[0]))
        assert not member.active


def test_an_exact_answer_ends_the_search(victims):
    observed = victims(2, "mlp", hidden=16, threat=PUBLIC)
    found = Ensemble(3).recover(observed, generator(0))
    assert [one.member for one in found] == ["analytic-linear"] * 2
    assert [one.evaluations for one in found] == [0, 0]


def test_no_member_is_likelier_than_what_is_kept(victims):
    observed = victims(3, "lenet", channels=4, threat=PUBLIC)
    ensemble = Ensemble(20)
    kept = ensemble.recover(observed, generator(0))
    *seeds, judging, _ = torch.randint(2**62, (len(ensemble.members()) + 2,), generator=generator(0)).tolist()
    judge = Judge.of(observed, generator(judging))
    for (name, member), seed in zip(ensemble.members().items(), seeds, strict=True):
        for i, one in enumerate(member.recover(observed, generator(seed))):
            assert judge.judged(i, one)[0].objective >= kept[i].objective
            if name == kept[i].member:
                assert torch.equal(one.images, kept[i].images)


def test_what_a_trained_network_answers_is_refined(victims, monkeypatch):
    members = {"learning-to-invert": LearningToInvert(20, simulated=32)}
    monkeypatch.setattr(Ensemble, "members", lambda _: members)
    observed = victims(2, "lenet", channels=4, threat=PUBLIC)
    for one in Ensemble(20).recover(observed, generator(0)):
        assert one.member == "learning-to-invert, refined"
        assert one.evaluations == 32 + 20
    monkeypatch.setattr(Ensemble, "members", lambda _: {"inverting-gradients": InvertingGradients(20)})
    for one in Ensemble(20).recover(observed, generator(0)):
        assert one.member == "inverting-gradients"
        assert one.evaluations == 20


@pytest.mark.parametrize("defense", [None, GaussianNoise(std=0.001)], ids=["undefended", "noise"])
@pytest.mark.parametrize("threat", [ThreatModel(), PUBLIC], ids=["alone", "public"])
def test_the_truth_is_likelier_than_another_image(threat, defense, victims):
    observed = victims(1, "lenet", channels=4, threat=replace(threat, labels=True), defense=defense)
    truth = torch.rand(1, 3, 8, 8, generator=generator(100))  # as the fixture draws it
    other = torch.rand(1, 3, 8, 8, generator=generator(1))
    judge = Judge.of(observed, generator(0))
    assert judged(judge, truth, observed[0].labels) < judged(judge, other, observed[0].labels)


def seen_under_noise(std):
    """Return a batch of one image, and what an attacker who holds others sees of it."""
    data = load_data("phantom", size=16, count=200)
    task = build_task(TaskSpec("lenet", (3, 16, 16), 8, {"channels": 4}))
    batch, public = Batch(data.images[:1], data.labels[:1]), Batch(data.images[80:], data.labels[80:])
    state, defense = initial_state(task, generator(1)), GaussianNoise(std)
    round_ = run_round(task, state, batch, LocalTraining(), defense, generator(2))
    return batch, observe(round_, ThreatModel(labels=True, public=True), public)


def test_under_noise_public_images_tell_an_image_from_one_that_fits_the_noise():
    batch, seen = seen_under_noise(0.5)
    fitting = InvertingGradients(200, total_variation=0.0).recover([seen], generator(0))[0].images
    alone, knowing = (Judge.of([one], generator(0)) for one in (replace(seen, public=None), seen))
    assert judged(alone, fitting, batch.labels) < judged(alone, batch.images, batch.labels)
    assert judged(knowing, fitting, batch.labels) > judged(knowing, batch.images, batch.labels)


@pytest.mark.parametrize("std", [0.003, 0.005])
def test_under_noise_an_answer_closer_to_the_mean_image_is_no_likelier_than_the_truth(std):
    batch, seen = seen_under_noise(std)
    smoother = (batch.images + seen.public.images.mean(0)) / 2
    judge = Judge.of([seen], generator(0))
    assert judged(judge, batch.images, batch.labels) < judged(judge, smoother, batch.labels)


def test_an_average_in_a_batch_does_not_make_up_for_an_image_that_is_unlikely():
    _, seen = seen_under_noise(0.005)
    judge, mean = Judge.of([seen], generator(0)), seen.public.images.mean(0)
    odd = torch.rand(2, *mean.shape, generator=generator(0))
    batch = torch.stack([mean, odd[0]])
    assert judge._surprise(batch) == judge._surprise(odd[:1]) + mean.numel()


def test_local_steps_and_batches_are_attacked(victims):
    recipe = LocalTraining(share="update", batch_images=2, minibatch=1, epochs=2, learning_rate=0.1)
    for one in Ensemble(3).recover(victims(2, "lenet", channels=2, recipe=recipe, threat=PUBLIC), generator(0)):
        assert one.status is Status.OK
        assert one.images.shape == (2, 3, 8, 8)
        assert one.member
