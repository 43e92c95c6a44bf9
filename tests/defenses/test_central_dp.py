import pytest
import torch

from leakward.defenses import CentralDP
from leakward.defenses.vectors import squared_norm
from leakward.federated import Chain, NoDefense
from leakward.tape import Tape
from leakward.types import generator

MESSAGE = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([4.0])}
SILENT = {"v": torch.zeros(200_000)}


def test_a_server_that_adds_noise_sees_the_message_without():
    tape = Tape(generator(0))
    sent, _ = CentralDP(max_norm=1.0, noise_multiplier=100.0).on_update(MESSAGE, {}, tape)
    assert tape.draws == []
    assert float(squared_norm(sent)) == pytest.approx(1.0)
    torch.testing.assert_close(sent["b"] / sent["a"][0, :1], torch.tensor([4 / 3]))


@pytest.mark.parametrize("clients", [1, 20])
def test_what_the_server_applies_has_its_noise_divided_among_the_clients(clients):
    defense = CentralDP(max_norm=0.5, noise_multiplier=3.0, clients=clients)
    for one in (defense, Chain((NoDefense(), defense))):
        applied = one.on_aggregate(SILENT, Tape(generator(0)))["v"]
        assert float(applied.std()) == pytest.approx(1.5 / clients, rel=0.01)


def test_against_the_server_nothing_is_proven():
    assert CentralDP().guarantee(0.1, 10, 1e-5) is None
