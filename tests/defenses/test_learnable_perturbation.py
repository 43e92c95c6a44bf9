import math
from dataclasses import replace

import pytest
import torch
from torch.func import grad

from leakward.data.dataset import Dataset
from leakward.defenses import LearnablePerturbation, decoder
from leakward.defenses.correlation import pearson
from leakward.defenses.learnable_perturbation import PublicNoise
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining, NoDefense, Step, client_round, client_update, optim, run_round
from leakward.models import LatentNoise, TaskSpec, build_task
from leakward.tape import Tape
from leakward.threat import ThreatModel, load_capture, observe, save_capture
from leakward.types import Batch, generator

GRADIENT = LocalTraining(batch_images=4)


def cross_entropy(task):
    def objective(parameters, step):
        logits, buffers = task.forward(parameters | step.buffers, step.images, noise=step.noise)
        return task.loss(logits, step.labels), buffers

    return objective


def first_step(client, defense, seed=0):
    """Return task, parameters and the step a client takes first."""
    tape = Tape(generator(seed))
    task = defense.on_task(client.task)
    private = defense.start_private(task, client.state, tape)
    noise = task.latent.draw(len(client.images), tape, client.images)
    parameters, buffers = task.split(client.state)
    return task, parameters, Step(buffers, client.images, client.labels, noise, private)


def correlation(client, defense, state, private):
    """Return what the decoder in ``private`` reaches on the images of ``client``, without noise."""
    task = defense.on_task(client.task)
    latent = task.latent.apply(task.encode(state, client.images), None)
    return float(pearson(client.images, decoder.decode(decoder.for_task(task), private, latent), "image").mean())


def phantoms(images, classes=2):
    """Return images of one bright disc each, whose class is its side."""
    rng = generator(1)
    labels = torch.arange(images) % classes
    centre = torch.rand(images, 1, 1, generator=rng) * 4 + 2 + 6 * labels[:, None, None]
    grid = torch.arange(12.0)
    far = (grid[None, :, None] - centre) ** 2 + (
        grid[None, None, :] - 6 * torch.rand(images, 1, 1, generator=rng) - 3
    ) ** 2
    return torch.exp(-far / 6)[:, None].expand(-1, 3, -1, -1).contiguous(), labels


def dataset(images):
    pixels, labels = phantoms(images)
    index = torch.arange(images)
    splits = {"train": index[:-2], "val": index[-2:-1], "test": index[-1:]}
    return Dataset("discs", pixels, labels, ("left", "right", "up", "down"), splits, "none")


def test_the_message_is_the_gradient_of_cross_entropy_plus_correlation_against_the_moved_decoder(lenet):
    defense = LearnablePerturbation(coefficient=0.7, decoder_learning_rate=0.05)
    task, parameters, step = first_step(lenet, defense)
    network = decoder.for_task(task)

    def guess(trained, private):
        latent = task.encode(trained | step.buffers, step.images) + 1.0 + 0.1 * step.noise
        return decoder.decode(network, private, latent)

    weights, memory = decoder.unpack(step.private)
    latent = task.encode(lenet.state, step.images) + 1.0 + 0.1 * step.noise

    def decoder_loss(moved):
        return -pearson(step.images, torch.func.functional_call(network, moved, (latent,)), "image").mean()

    moved = decoder.pack(*optim.adam_step(weights, grad(decoder_loss)(weights), memory, learning_rate=0.05))

    def loss(trained, private):
        rho = pearson(step.images, guess(trained, private), "image").mean()
        return cross_entropy(task)(trained, step)[0] + 0.7 * rho

    sent = client_update(*lenet, GRADIENT, defense, Tape(generator(0))).tensors
    torch.testing.assert_close(sent, grad(loss)(parameters, moved))
    stale = grad(loss)(parameters, step.private)
    assert any(not torch.allclose(sent[key], stale[key], rtol=1e-3) for key in sent)


def test_the_decoder_climbs_and_the_predictor_gradient_is_that_of_cross_entropy(lenet):
    defense = LearnablePerturbation(coefficient=5.0)
    task, _, step = first_step(lenet, defense)
    latent = task.latent.apply(task.encode(lenet.state, step.images), step.noise)
    moved = defense.on_step(task, lenet.state, step, Tape()).private
    before, after = (pearson(step.images, decoder.decode(decoder.for_task(task), p, latent), "image").mean()
                     for p in (step.private, moved))  # fmt: skip
    assert after > before
    with_term = client_update(*lenet, GRADIENT, defense, Tape(generator(0))).tensors
    without = client_update(*lenet, GRADIENT, replace(defense, coefficient=0.0), Tape(generator(0))).tensors
    for key in with_term:
        assert torch.allclose(with_term[key], without[key], rtol=1e-5, atol=1e-7) == key.startswith("predictor")


def test_helpers_are_carried_through_steps_and_rounds(lenet):
    recipe = LocalTraining(share="update", batch_images=4, epochs=3, minibatch=2)
    defense, tape = LearnablePerturbation(), Tape(generator(0))
    first = client_round(*lenet, recipe, defense, tape)
    second = client_round(*lenet, recipe, defense, tape, private=first.private)
    assert int(first.private["steps"]) == 6
    assert int(second.private["steps"]) == 12
    assert tuple(second.update.tensors) == lenet.task.parameter_names


def test_the_attacker_replays_the_noise_and_nothing_else(lenet):
    defense = LearnablePerturbation(mean=2.0, std=0.3, coefficient=0.0)
    replay = defense.replay()
    assert replay == PublicNoise(defense)
    tape = Tape(generator(0))
    sent = client_update(*lenet, GRADIENT, defense, tape).tensors
    noise = tape.values[-1]
    again = client_update(*lenet, GRADIENT, replay, Tape(values=[noise])).tensors
    torch.testing.assert_close(again, sent)
    plain = client_update(*lenet, GRADIENT, NoDefense(), Tape()).tensors
    assert any(not torch.allclose(sent[key], plain[key], rtol=1e-2) for key in sent)


def test_learned_noise_must_be_learned_first(lenet):
    with pytest.raises(DefenseError, match="prepare"):
        LearnablePerturbation(noise="learned").on_task(lenet.task)
    fixed = LearnablePerturbation()
    assert fixed.prepare(lenet.task, dataset(6), generator(0)) is fixed


def test_pretraining_fits_the_noise_per_element_and_freezes_it(lenet):
    defense = LearnablePerturbation(noise="learned", pretrain_epochs=3, pretrain_batch=4, pretrain_learning_rate=0.01)
    fitted, again, other = (defense.prepare(lenet.task, dataset(10), generator(seed)) for seed in (0, 0, 1))
    assert fitted.fitted_mean.shape == fitted.fitted_std.shape == (4, 3, 3)
    assert not fitted.fitted_mean.requires_grad
    assert not fitted.fitted_std.requires_grad
    assert (fitted.fitted_std >= 0).all()
    assert float((fitted.fitted_mean - 1).abs().min()) > 0
    assert 0 < float((fitted.fitted_mean - 1).abs().max()) <= 6 * 0.0101
    assert float((fitted.fitted_std - 0.1).abs().max()) > 1e-3
    assert fitted == again != other
    assert fitted != defense
    assert hash(fitted) == hash(again)
    noise = fitted.on_task(lenet.task).latent
    assert torch.equal(noise.mean, fitted.fitted_mean)
    assert torch.equal(noise.std, fitted.fitted_std)
    client_update(*lenet, GRADIENT, fitted, Tape(generator(0)))


def test_pretraining_follows_the_loss(lenet):
    """Without the correlation, noise only hurts the classifier, and shrinks."""
    quiet = LearnablePerturbation(
        noise="learned", std=0.5, coefficient=0.0, pretrain_epochs=20, pretrain_batch=10, pretrain_learning_rate=0.02
    )
    fitted = quiet.prepare(lenet.task, dataset(12), generator(0))
    assert float(fitted.fitted_std.mean()) < 0.5


def test_learned_noise_survives_a_capture(lenet, tmp_path):
    learned = LearnablePerturbation(
        noise="learned", fitted_mean=torch.full((4, 3, 3), 0.5), fitted_std=torch.full((4, 3, 3), 0.5), coefficient=0.5
    )
    batch = Batch(lenet.images, lenet.labels)
    round_ = run_round(lenet.task, lenet.state, batch, GRADIENT, learned, generator(0))
    save_capture(observe(round_, ThreatModel()), tmp_path / "capture")
    assert load_capture(tmp_path / "capture").defense == learned


def test_fitted_noise_of_another_model_and_a_second_noise_are_refused(lenet, convnet, batchnorm):
    wrong = LearnablePerturbation(noise="learned", fitted_mean=torch.ones(4, 3, 3), fitted_std=torch.ones(4, 3, 3))
    with pytest.raises(DefenseError, match="shape"):
        wrong.on_task(convnet.task)
    with pytest.raises(DefenseError, match="at most one defence with private helpers"):
        Chain((LearnablePerturbation(), LearnablePerturbation()))
    with pytest.raises(DefenseError, match="BatchNorm"):
        LearnablePerturbation().on_task(batchnorm.task)
    with pytest.raises(DefenseError, match="on_task"):
        LearnablePerturbation().start_private(lenet.task, lenet.state, Tape(generator(0)))
    tiny = build_task(TaskSpec("lenet", (3, 3, 8), 4))
    with pytest.raises(DefenseError, match="at least 4 pixels"):
        LearnablePerturbation().on_task(tiny)


def test_noise_is_drawn_with_the_public_mean_and_std(lenet):
    task = LearnablePerturbation(mean=0.5, std=0.2).on_task(lenet.task)
    assert isinstance(task.latent, LatentNoise)
    noise = task.latent.draw(2000, Tape(generator(0)), lenet.images)
    shift = task.latent.apply(torch.zeros(noise.shape), noise)
    assert float(shift.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shift.std()) == pytest.approx(0.2, rel=0.02)
    assert math.isclose(float(task.latent.apply(torch.zeros(1, 4, 3, 3), None).mean()), 0.5)


def test_the_papers_network_trains_with_it(convnet):
    recipe = LocalTraining(share="update", batch_images=2, epochs=2, optimizer="adam", learning_rate=1e-3)
    for defense in (LearnablePerturbation(), LearnablePerturbation(correlation="squared", per="batch")):
        update = client_update(*convnet, recipe, defense, Tape(generator(0)))
        assert all(torch.isfinite(value).all() for value in update.tensors.values())


@pytest.mark.parametrize("form", ["signed", "squared"])
def test_training_with_it_leaves_less_for_the_decoder(lenet, form):
    images, labels = phantoms(8)
    client = lenet._replace(images=images, labels=labels)
    recipe = LocalTraining(share="update", batch_images=8, epochs=60, optimizer="adam", learning_rate=1e-2)
    found = {}
    for coefficient in (0.0, 3.0):
        defense = LearnablePerturbation(coefficient=coefficient, correlation=form, decoder_learning_rate=1e-2)
        result = client_round(*client, recipe, defense, Tape(generator(0)))
        state = lenet.state | {key: lenet.state[key] - value for key, value in result.update.tensors.items()}
        found[coefficient] = correlation(client, defense, state, result.private)
    assert found[0.0] > 0.8
    assert found[3.0] < found[0.0] - 0.15
