import pytest
import torch

from leakward.defenses import Clipping, LocalDP, TopK
from leakward.defenses.accounting import gaussian_guarantee
from leakward.federated import Chain
from leakward.tape import Tape
from leakward.types import generator

MESSAGE = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([4.0])}
SILENT = {"v": torch.zeros(200_000)}


def test_local_noise_by_hand():
    tape = Tape(values=[torch.tensor([[1.0, -1.0]]), torch.tensor([0.5])])
    sent, _ = LocalDP(max_norm=2.0, noise_multiplier=3.0).on_update(MESSAGE, {}, tape)
    torch.testing.assert_close(sent["a"], torch.tensor([[1.2 + 6.0, -6.0]]))
    torch.testing.assert_close(sent["b"], torch.tensor([1.6 + 3.0]))


@pytest.mark.parametrize("max_norm", [0.5, 2.0])
def test_local_noise_grows_with_the_bound_and_not_with_the_message(max_norm):
    for message in (SILENT, {"v": torch.full_like(SILENT["v"], 1e-6)}):
        sent = LocalDP(max_norm, 1.5).on_update(message, {}, Tape(generator(0)))[0]["v"]
        assert float((sent - message["v"]).std()) == pytest.approx(1.5 * max_norm, rel=0.01)


def test_the_attacker_of_local_noise_replays_the_clipping_and_matches_the_message_as_it_is():
    defense = LocalDP(max_norm=2.0, noise_multiplier=0.1)
    assert defense.replay() == Clipping(2.0)
    found = defense.evidence(MESSAGE, 1)
    assert all(torch.equal(found.message[name], value) for name, value in MESSAGE.items())
    assert all(weight.eq(1).all() for weight in found.weight.values())


def test_two_messages_are_two_bounds_apart_whatever_the_local_steps():
    """Half the noise per unit of what an image can change, once a round, if it is in any of its steps."""
    found = LocalDP(max_norm=7.0, noise_multiplier=3.0).guarantee(0.1, 10, 1e-5, steps=2)
    assert found.epsilon == pytest.approx(gaussian_guarantee(1.5, 0.19, 10, 1e-5).epsilon)
    far = {"v": torch.tensor([9.0])}, {"v": torch.tensor([-9.0])}
    one, other = (LocalDP(2.0, 0.0).on_update(message, {}, Tape(generator(0)))[0]["v"] for message in far)
    assert float(one - other) == pytest.approx(2 * 2.0)
    assert LocalDP(noise_multiplier=0.0).guarantee(0.1, 10, 1e-5) is None


def test_a_memory_before_the_noise_leaves_no_proof_and_one_after_it_does():
    assert Chain((TopK(), LocalDP())).guarantee(0.1, 10, 1e-5) is None
    assert Chain((LocalDP(), TopK())).guarantee(0.1, 10, 1e-5) == LocalDP().guarantee(0.1, 10, 1e-5)
