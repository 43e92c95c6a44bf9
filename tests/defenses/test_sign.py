import torch
from torch.func import grad

from leakward.defenses import Sign
from leakward.defenses.sign import smooth_sign
from leakward.federated import LocalTraining, NoDefense, client_update
from leakward.tape import Tape


def test_signs_are_sent():
    message = {"v": torch.tensor([3.0, -1e-9, 0.0])}
    assert torch.equal(Sign().on_update(message, {}, Tape())[0]["v"], torch.tensor([1.0, -1.0, 0.0]))


def test_its_derivative_is_one():
    value = torch.tensor([3.0, -1e-9, 0.0])
    slope = grad(lambda v: Sign().on_update({"v": v}, {}, Tape())[0]["v"].sum())(value)
    assert torch.equal(slope, torch.ones(3))


def test_the_smooth_sign_by_hand():
    # mean square 1, so that c rms = 0.1;  1 / sqrt(1 + 0.01)
    torch.testing.assert_close(smooth_sign(torch.tensor([1.0, -1.0])), torch.tensor([0.9950372, -0.9950372]))
    assert torch.equal(smooth_sign(torch.zeros(3)), torch.zeros(3))
    scaled = smooth_sign(1e-6 * torch.tensor([2.0, -0.5, 0.0]))
    torch.testing.assert_close(scaled, smooth_sign(torch.tensor([2.0, -0.5, 0.0])))


def test_the_smooth_sign_can_be_differentiated():
    start = torch.tensor([2.0, -0.5, 0.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smooth_sign, start)
    assert torch.equal(grad(lambda v: smooth_sign(v).sum())(torch.zeros(3)), torch.zeros(3))


def test_the_replay_of_the_truth_matches_better_than_the_gradient_itself(lenet):
    client = (lenet.task, lenet.state, lenet.images, lenet.labels, LocalTraining(batch_images=4))
    sent, smooth, plain = (
        torch.cat([value.flatten() for value in client_update(*client, defense, Tape()).tensors.values()])
        for defense in (Sign(), Sign().replay(), NoDefense())
    )
    assert torch.cosine_similarity(smooth, sent, dim=0) > 0.9 > torch.cosine_similarity(plain, sent, dim=0)
