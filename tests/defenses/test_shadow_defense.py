"""The shadow defence as a client runs it, and its two controls."""

import math
from dataclasses import replace

import pytest
import torch
from torch.func import grad, vmap

from leakward.data.dataset import Dataset
from leakward.defenses import DPSGD, BrightnessOffset, RandomPixelNoise, ShadowDefense
from leakward.defenses.shadow.memory import CODES, IMAGES, MAPS, VISITS
from leakward.defenses.shadow.shadow_model import CodeFit, Shadow, draw_weights, rate, unpack
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining, NoDefense, Step, client_round, client_update, run_round
from leakward.generators import Generator, PriorSettings, save_prior, train_prior
from leakward.models import TaskSpec, build_task
from leakward.settings import parse
from leakward.tape import Tape
from leakward.threat import ThreatModel, load_capture, observe, save_capture
from leakward.types import Batch, generator

GRADIENT = LocalTraining(batch_images=4)
QUICK = ShadowDefense(channels=2, latent=8, latent_steps=3)
INTENDED = replace(QUICK, form="intended", iterations=3)


def normalised(client):
    """Return the client with a network that normalises its images."""
    spec = TaskSpec("lenet", (3, 12, 12), 4, {"channels": 4}, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    return client._replace(task=build_task(spec))


def dataset(client):
    splits = {"train": torch.arange(4), "val": torch.arange(0), "test": torch.arange(0)}
    return Dataset("four", client.images, client.labels, ("a", "b", "c", "d"), splits, "none")


def step(client, defense, private=None, seed=0, images=None):
    """Return what becomes of a batch."""
    tape, (parameters, buffers) = Tape(generator(seed)), client.task.split(client.state)
    private = defense.start_private(client.task, client.state, tape) if private is None else private
    given = Step(buffers, client.images if images is None else images, client.labels, private=private)
    return defense.on_step(client.task, parameters, given, tape)


def added(client, found):
    """Return the perturbation in the network's input range."""
    return client.task.normalize(found.images) - client.task.normalize(client.images)


@pytest.mark.parametrize("form", ["published", "intended"])
def test_the_noise_peaks_at_its_share_of_the_image_and_grows_with_every_use(lenet, form):
    client = normalised(lenet)
    defense = replace(INTENDED, form=form, shadow_rounds=1).prepare(client.task, dataset(client), generator(0))
    peaks, private = [], None
    for _ in range(3):
        found = step(client, defense, private)
        private = found.private
        peaks.append(added(client, found).flatten(1).amax(1) / client.task.normalize(client.images).flatten(1).amax(1))
    expected = 0.19 * (torch.arange(3) / 100).exp()[:, None].expand(3, 4)
    torch.testing.assert_close(torch.stack(peaks), expected, rtol=1e-3, atol=1e-5)
    assert private[VISITS].tolist() == [3] * 4


def test_the_schedule_stops_with_the_last_round(lenet):
    short = replace(QUICK, rounds=2)
    private, found = None, []
    for _ in range(4):
        made = step(lenet, short, private)
        private = made.private
        found.append(added(lenet, made).flatten(1).amax(1) / lenet.images.flatten(1).amax(1))
    for peak, share in zip(found, (0.0, 0.5, 0.5, 0.5), strict=True):
        torch.testing.assert_close(peak, 0.19 * torch.tensor(share).exp().expand(4), rtol=1e-3, atol=1e-5)


def test_the_generator_moves_half_way_and_rests_after_its_rounds(lenet):
    defense = replace(QUICK, shadow_rounds=2)
    before = defense.start_private(lenet.task, lenet.state, Tape(generator(0)))
    first = step(lenet, defense, before, seed=1).private
    shadow = Shadow(lenet.task, Generator((3, 12, 12), 8, 2))
    moved = defense._moved(shadow, unpack(before), first[CODES], Step({}, lenet.images, lenet.labels), lenet.state)
    for name, value in unpack(first).items():
        torch.testing.assert_close(value, (unpack(before)[name] + moved[name]) / 2)
    second = step(lenet, defense, first).private
    third = step(lenet, defense, second).private
    assert any(not torch.equal(first[name], second[name]) for name in first if name.startswith("weight/"))
    for name in third:
        assert torch.equal(second[name], third[name]) == (name != VISITS)


@pytest.mark.parametrize("mended", [False, True])
def test_maps_are_blended_and_used_when_the_form_says(lenet, monkeypatch, mended):
    defense = replace(QUICK, shadow_rounds=2, except_for=("memory",) if mended else ())
    fresh = [torch.rand(4, 3, 12, 12, generator=generator(i)) for i in range(3)]
    used, made = [], iter(fresh)
    monkeypatch.setattr(ShadowDefense, "_leaks", lambda *_: next(made))

    def watch(self, task, state, batch, noise, visits):
        used.append(noise)
        return torch.zeros_like(noise)

    monkeypatch.setattr(ShadowDefense, "_noise", watch)
    private = None
    for _ in range(3):
        private = step(lenet, defense, private).private
    kept = 0.1 * fresh[0] + 0.9 * fresh[1]
    torch.testing.assert_close(private[MAPS], kept)
    for noise, expected in zip(used, [fresh[0], kept if mended else fresh[1], kept], strict=True):
        torch.testing.assert_close(noise, expected)


def test_the_published_class_is_1_whatever_the_image_shows(lenet):
    other = lenet._replace(labels=lenet.labels.flip(0))
    for quirks, same in (((), True), (("class",), False)):
        defense = replace(QUICK, except_for=(*quirks, "protection"), shadow_rounds=1)
        private = step(lenet, defense).private  # from here on the label enters by the activation map only
        found = [added(client, step(client, defense, private)) for client in (lenet, other)]
        assert torch.equal(*found) == same


def test_the_intended_form_needs_a_generator_which_stays_with_the_client(lenet, tmp_path):
    with pytest.raises(DefenseError, match="prepare"):
        INTENDED.start_private(lenet.task, lenet.state, Tape(generator(0)))
    fitted = INTENDED.prepare(lenet.task, dataset(lenet), generator(0))
    assert fitted == INTENDED.prepare(lenet.task, dataset(lenet), generator(0)) != INTENDED
    assert QUICK.prepare(lenet.task, dataset(lenet), generator(0)) is QUICK
    with pytest.raises(DefenseError, match="prepare"):
        replace(fitted, channels=3).start_private(lenet.task, lenet.state, Tape(generator(0)))
    batch = Batch(lenet.images, lenet.labels)
    round_ = run_round(lenet.task, lenet.state, batch, GRADIENT, fitted, generator(0))
    seen = observe(round_, ThreatModel())
    assert seen.defense == replace(INTENDED, except_for=("start",))
    assert seen.defense.public() == seen.defense
    assert Chain((fitted, NoDefense())).public().parts[0].fitted is None
    assert observe(round_, ThreatModel("oracle")).defense == fitted
    save_capture(seen, tmp_path / "capture")
    assert load_capture(tmp_path / "capture").defense == seen.defense
    client_update(*lenet, GRADIENT, seen.defense, Tape(generator(0)))


def test_a_saved_prior_is_taken_as_it_is(lenet, tmp_path):
    prior = train_prior(lenet.images, PriorSettings(2, latent=5, channels=3), generator(0))
    save_prior(prior, tmp_path / "mine.safetensors")
    saved = replace(INTENDED, prior=str(tmp_path / "mine.safetensors"))
    fitted = saved.prepare(lenet.task, dataset(lenet), generator(1))
    assert (fitted.latent, fitted.channels) == (5, 3)
    assert Chain((NoDefense(), saved)).files() == (tmp_path / "mine.safetensors",)
    weights = unpack(fitted.start_private(lenet.task, lenet.state, Tape(generator(0))))
    assert all(torch.equal(weights[name], value) for name, value in prior.state.items())


def test_a_plan_names_quirks_in_a_list():
    made, problems = parse(ShadowDefense, {"form": "intended", "except_for": ["layout", "class"]}, "defense")
    assert problems == []
    assert [made.mends(quirk) for quirk in ("layout", "class", "bins")] == [False, False, True]
    assert "except_for" in parse(ShadowDefense, {"except_for": ["colour"]}, "defense")[1][0]


@pytest.mark.parametrize("form", ["published", "intended"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_networks_with_batchnorm_are_shadowed_by_their_statistics(batchnorm, mode, form):
    client = batchnorm._replace(images=batchnorm.images.clone())
    splits = {"train": torch.arange(4), "val": torch.arange(0), "test": torch.arange(0)}
    data = Dataset("four", client.images, client.labels, ("a", "b", "c", "d"), splits, "none")
    defense = replace(INTENDED, form=form).prepare(client.task, data, generator(0))
    update = client_update(*client, replace(GRADIENT, mode=mode), defense, Tape(generator(0)))
    assert all(torch.isfinite(value).all() for value in (update.tensors | update.buffers).values())


def test_several_local_steps_can_be_replayed_inside_vmap(lenet):
    recipe = LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2, learning_rate=0.1)
    tape = Tape(generator(0))
    sent = client_update(*lenet, recipe, QUICK, tape).tensors

    def again(images):
        client = lenet._replace(images=images)
        return client_update(*client, recipe, QUICK, Tape(values=tape.values)).tensors

    found = vmap(again)(torch.stack([lenet.images, lenet.images.flip(0)]))
    for name, value in sent.items():
        torch.testing.assert_close(found[name][0], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("defense", [QUICK, RandomPixelNoise(), BrightnessOffset()])
def test_the_noise_is_no_function_of_the_image_to_whoever_differentiates(lenet, defense):
    def total(images):
        return step(lenet, defense, images=images).images.sum()

    torch.testing.assert_close(grad(total)(lenet.images), torch.ones_like(lenet.images))


def test_codes_are_fitted_as_adamw_with_milestones_does(lenet):
    shadow, fit = Shadow(lenet.task, Generator((3, 12, 12), 8, 2)), CodeFit(16, 0.05, accumulate=False)
    weights = draw_weights(shadow.generator, Tape(generator(0)), lenet.images)
    start = torch.randn(4, 8, generator=generator(1))
    codes = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([codes], lr=0.05)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 10, 14], gamma=0.5)
    for _ in range(16):
        optimizer.zero_grad()
        (shadow.show(weights, codes) - lenet.images).square().mean().backward()
        optimizer.step()
        schedule.step()
    found = shadow.fit_codes(weights, start, lenet.images, fit)
    torch.testing.assert_close(found, codes.detach(), rtol=1e-3, atol=1e-4)
    summed = shadow.fit_codes(weights, start, lenet.images, replace(fit, accumulate=True))
    assert not torch.allclose(summed, found, atol=1e-3)


def test_the_rate_follows_the_batch():
    assert [rate(images, 1e-3) for images in (1, 4, 8)] == [1e-4, 1e-3, 2e-3]


def test_no_epsilon_is_claimed_for_images_that_move_each_other():
    assert Chain((QUICK, DPSGD())).guarantee(0.1, 10, 1e-5) is None


def test_random_noise_has_the_size_asked_for(lenet):
    client = normalised(lenet)
    noise = added(client, step(client, RandomPixelNoise(relative_rms=0.05)))
    peak = client.task.normalize(client.images).abs().flatten(1).amax(1)
    torch.testing.assert_close(noise.square().mean((1, 2, 3)).sqrt() / peak, torch.full((4,), 0.05))


def test_random_noise_grows_with_the_rounds_that_the_client_has_trained(lenet):
    """By the steps of a round it does not; from the last round on it stays."""
    client, growing = normalised(lenet), RandomPixelNoise(relative_rms=0.05, rounds=2)
    recipe = LocalTraining(share="update", batch_images=4, minibatch=2, epochs=2)
    private, sizes = growing.start_private(client.task, client.state, Tape(generator(0))), []
    for _ in range(4):
        sizes.append(float(added(client, step(client, growing, private)).square().mean().sqrt()))
        private = client_round(
            client.task, client.state, client.images, client.labels, recipe, growing, Tape(generator(1)), private
        ).private
    assert [size / sizes[0] for size in sizes] == pytest.approx([1, math.exp(0.5), math.exp(0.5), math.exp(0.5)])
    assert growing.keeps_private
    assert not RandomPixelNoise().keeps_private


def test_random_noise_is_by_default_as_large_as_evenly_spread_shadow_noise():
    values = torch.linspace(0, 255, 10_000)
    noise = 0.19 * ((values - 255) / 20).exp()
    assert RandomPixelNoise().relative_rms == pytest.approx(float(noise.square().mean().sqrt()), rel=0.01)
    assert BrightnessOffset().relative_offset == pytest.approx(float(noise.mean()), rel=0.01)


def test_who_knows_the_offset_undoes_it(lenet):
    client = normalised(lenet)
    defense = BrightnessOffset(relative_offset=0.1)
    offset = added(client, step(client, defense)).flatten(1)
    peak = client.task.normalize(client.images).abs().flatten(1).amax(1)
    torch.testing.assert_close(offset, (0.1 * peak)[:, None].expand_as(offset), rtol=1e-3, atol=1e-5)
    assert defense.replay() == defense
    assert RandomPixelNoise().replay() == QUICK.replay() == NoDefense()


def test_images_are_remembered_over_rounds(lenet):
    first = client_round(*lenet, GRADIENT, QUICK, Tape(generator(0)))
    second = client_round(*lenet, GRADIENT, QUICK, Tape(generator(1)), first.private)
    assert len(second.private[IMAGES]) == 4
    assert torch.equal(first.private[CODES], second.private[CODES])
