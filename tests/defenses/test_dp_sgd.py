import copy

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch.func import grad

from leakward.defenses import ATS, DPSGD, LearnablePerturbation, Pruning, Soteria
from leakward.defenses.accounting import gaussian_guarantee
from leakward.errors import PlanError
from leakward.federated import Chain, LocalTraining, Sample, client_round, client_update
from leakward.tape import Tape
from leakward.types import generator

GRADIENT = LocalTraining(batch_images=4)


def send(client, defense, tape, recipe=GRADIENT):
    return client_update(client.task, client.state, client.images, client.labels, recipe, defense, tape).tensors


def single_gradient(client, i):
    """Return the gradient of one image, from a batch of one."""
    parameters, buffers = client.task.split(client.state)

    def loss(trained):
        logits, _ = client.task.forward(trained | buffers, client.images[i : i + 1])
        return client.task.loss(logits, client.labels[i : i + 1])

    return grad(loss)(parameters)


def norm(tensors):
    return float(torch.cat([value.flatten() for value in tensors.values()]).norm())


@pytest.fixture
def bound(lenet):
    """A clipping norm between the shortest and the longest image's gradient."""
    norms = sorted(norm(single_gradient(lenet, i)) for i in range(4))
    return (norms[1] + norms[2]) / 2


def test_without_noise_it_is_the_loop_over_micro_batches(lenet, bound):
    singles = [single_gradient(lenet, i) for i in range(4)]
    scales = [min(1.0, bound / norm(single)) for single in singles]
    assert min(scales) < 1 == max(scales)
    expected = {
        key: sum(scale * single[key] for scale, single in zip(scales, singles, strict=True)) / 4 for key in singles[0]
    }
    torch.testing.assert_close(send(lenet, DPSGD(bound, 0.0), Tape()), expected)


def opacus(lenet, bound, noise_multiplier, images, labels, expected):
    """Return the gradient of Opacus on a batch of which so many images were expected."""
    model = copy.deepcopy(lenet.task.model)
    model.load_state_dict(lenet.state)
    wrapped = GradSampleModule(model.train())
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=1.0),
        noise_multiplier=noise_multiplier,
        max_grad_norm=bound,
        expected_batch_size=expected,
        generator=generator(11),
    )
    torch.nn.functional.cross_entropy(wrapped(images), labels).backward()
    optimizer.pre_step()
    return {key.removeprefix("_module."): value.grad for key, value in wrapped.named_parameters()}


def send_sample(client, defense, tape, steps, size, recipe=GRADIENT):
    """Return the message of a client with all images, of which ``steps`` are in the round."""
    sample = Sample(tuple(torch.tensor(step, dtype=torch.long) for step in steps), size, 4)
    result = client_round(client.task, client.state, client.images, client.labels, recipe, defense, tape, sample=sample)
    assert result.update.images == 4
    return result.update.tensors


@pytest.mark.filterwarnings("ignore:Full backward hook")  # Opacus, on an input that needs no gradient
@pytest.mark.parametrize("noise_multiplier", [0.0, 1.3])
def test_one_step_equals_opacus_given_the_same_noise(lenet, bound, noise_multiplier):
    ours = send(lenet, DPSGD(bound, noise_multiplier), Tape(generator(11)))
    theirs = opacus(lenet, bound, noise_multiplier, lenet.images, lenet.labels, 4)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("drawn", [[0, 2, 3], [1]])
def test_a_poisson_sample_equals_opacus_with_the_expected_size(lenet, bound, drawn):
    ours = send_sample(lenet, DPSGD(bound, 1.3), Tape(generator(11)), [drawn], size=2.5)
    theirs = opacus(lenet, bound, 1.3, lenet.images[drawn], lenet.labels[drawn], 2.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_an_empty_step_is_noise_alone(lenet):
    tape = Tape(generator(0))
    sent = send_sample(lenet, DPSGD(2.0, 3.0), tape, [[]], size=1.5)
    torch.testing.assert_close(list(sent.values()), [2.0 * 3.0 / 1.5 * noise for noise in tape.values])
    silent = send_sample(lenet, DPSGD(2.0, 0.0), Tape(), [[]], size=1.5)
    assert all((value == 0).all() for value in silent.values())


def test_local_steps_on_samples_are_those_of_a_loop(lenet, bound):
    """The second step is empty, so that it leaves the weights where they are."""
    recipe = LocalTraining(share="update", batch_images=4, minibatch=2, learning_rate=0.1)
    sent = send_sample(lenet, DPSGD(bound, 0.0), Tape(), [[3, 0, 1], [], [2]], 2.0, recipe)
    state = lenet.state
    for step in ([3, 0, 1], [2]):
        moved = send_sample(lenet._replace(state=state), DPSGD(bound, 0.0), Tape(), [step], 2.0)
        state = {name: state[name] - 0.1 * value for name, value in moved.items()}
    torch.testing.assert_close(sent, {name: value - state[name] for name, value in lenet.state.items()})


def test_every_step_of_local_training_is_clipped(lenet):
    recipe = LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2, learning_rate=0.1)
    message = send(lenet, DPSGD(1e-3, 0.0), Tape(), recipe)
    assert 0 < norm(message) <= 4 * 0.1 * 1e-3 * (1 + 1e-4)


def test_epsilon_does_not_depend_on_the_clipping_norm():
    found = [DPSGD(bound, 1.1).guarantee(0.02, 500, 1e-5) for bound in (0.1, 10.0)]
    assert found[0] == found[1] == gaussian_guarantee(1.1, 0.02, 500, 1e-5)


def test_no_noise_and_mixed_images_prove_nothing():
    assert DPSGD(1.0, 0.0).guarantee(0.1, 10, 1e-5) is None
    assert DPSGD(1.0, 1e-6).guarantee(0.1, 10, 1e-5) is None
    for mixing in (LearnablePerturbation(), Soteria(), ATS(candidates=2)):
        assert Chain((DPSGD(), mixing)).guarantee(0.1, 10, 1e-5) is None
    assert Chain((ATS(), DPSGD())).guarantee(0.1, 10, 1e-5) == DPSGD().guarantee(0.1, 10, 1e-5)
    assert Chain((DPSGD(), Pruning())).guarantee(0.1, 10, 1e-5) == DPSGD().guarantee(0.1, 10, 1e-5)


@pytest.mark.parametrize(
    "arguments", [(0.0, 10, 1e-5), (1.1, 10, 1e-5), (0.1, 0, 1e-5), (0.1, 10, 0.0), (0.1, 10, 1.0)]
)
def test_a_guarantee_for_impossible_settings_is_refused(arguments):
    with pytest.raises(PlanError, match=r"DPSGD: .*: expected"):
        DPSGD().guarantee(*arguments)


def test_the_noise_in_a_message_has_the_size_that_the_settings_ask_for(lenet):
    bound, multiplier = 1e-4, 3.0  # so small that the weights, hence the true gradients, hardly move
    silent = send(lenet, DPSGD(bound, 0.0), Tape(), GRADIENT)
    found = [send(lenet, DPSGD(bound, multiplier), Tape(generator(seed)), GRADIENT) for seed in range(20)]
    noise = torch.cat([(noisy[key] - silent[key]).flatten() for noisy in found for key in silent])
    expected = (multiplier * bound / 4) ** 2
    np.testing.assert_allclose(noise.double().square().mean(), expected, rtol=0.05)


def test_the_attacker_replays_the_clipping_alone():
    assert DPSGD(2.0, 1.0).replay() == DPSGD(2.0, 0.0)
