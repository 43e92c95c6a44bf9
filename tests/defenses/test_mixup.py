import math

import pytest
import torch
from scipy.special import betainc
from torch.testing import assert_close

from leakward.defenses import Mixup
from leakward.defenses.mixing import probabilities
from leakward.defenses.mixup import symmetric_beta
from leakward.errors import DefenseError
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.federated.defense import Step
from leakward.tape import Tape
from leakward.types import generator


def mixed(client, defense, tape):
    return defense.on_step(client.task, {}, Step({}, client.images, client.labels), tape)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_two_uniform_numbers_make_a_beta(alpha):
    """Quantiles against the distribution function, which rounding near 1 leaves alone in double precision."""
    drawn = symmetric_beta(alpha, torch.rand(2, 200_000, generator=generator(0), dtype=torch.float64))
    for point in (0.01, 0.1, 0.3, 0.5, 0.8, 0.99):
        assert_close(float((drawn <= point).double().mean()), float(betainc(alpha, alpha, point)), rtol=0, atol=5e-3)


def test_a_beta_by_hand():
    """Beta(1, 1) from u = 1/4 and an angle of 60 degrees: 1/2 + 1/2 1/2 sqrt(3/4 / (1/4 + 3/4 1/4))."""
    found = symmetric_beta(1.0, torch.tensor([0.25, 1 / 6]))
    assert_close(float(found), 0.5 + 0.25 * math.sqrt(0.75 / 0.4375))


def test_extreme_draws_stay_finite_and_between_0_and_1():
    ends = torch.tensor([0.0, 1e-30, 0.25, 0.5, 1 - 2**-24])
    drawn = torch.cartesian_prod(ends, ends).T
    for alpha in (1e-3, 0.1, 1.0, 1e3):
        found = symmetric_beta(alpha, drawn)
        assert ((found >= 0) & (found <= 1)).all()


def test_images_and_labels_are_mixed_one_by_one(lenet):
    tape = Tape(generator(1))
    step = mixed(lenet, Mixup(0.7), tape)
    weights, order = tape.values
    share = float(symmetric_beta(0.7, weights))
    assert 0 < share < 1
    for i, partner in enumerate(order.argsort().tolist()):
        assert_close(step.images[i], share * lenet.images[i] + (1 - share) * lenet.images[partner])
        expected = torch.zeros(4)
        expected[lenet.labels[i]] += share
        expected[lenet.labels[partner]] += 1 - share
        assert_close(step.labels[i], expected)


def test_the_gradient_is_that_of_two_weighed_losses(lenet):
    """The form of the authors' code."""
    tape = Tape(generator(1))
    sent = client_update(*lenet, LocalTraining(batch_images=4), Mixup(), tape).tensors
    weights, order = tape.values
    share, order = float(symmetric_beta(1.0, weights)), order.argsort()
    images = share * lenet.images + (1 - share) * lenet.images[order]
    state = {name: value.clone().requires_grad_() for name, value in lenet.state.items()}
    logits = lenet.task.forward(state, images)[0]
    loss = share * lenet.task.loss(logits, lenet.labels) + (1 - share) * lenet.task.loss(logits, lenet.labels[order])
    expected = torch.autograd.grad(loss, [state[name] for name in sent])
    assert_close([*sent.values()], [*expected], rtol=1e-4, atol=1e-6)


def test_probabilities_are_left_as_they_are():
    soft = torch.tensor([[0.2, 0.8]])
    assert probabilities(soft, 2, soft) is soft
    assert_close(probabilities(torch.tensor([1, 0]), 3, soft), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))


def test_a_single_image_is_refused(lenet):
    recipe = LocalTraining("update", batch_images=3, minibatch=2)
    with pytest.raises(DefenseError, match="Mixup: expected at least 2 images in every step, got 1"):
        client_update(lenet.task, lenet.state, lenet.images[:3], lenet.labels[:3], recipe, Mixup(), Tape(generator(0)))


def test_the_attacker_replays_the_undefended_client():
    assert Mixup().replay() == NoDefense()
