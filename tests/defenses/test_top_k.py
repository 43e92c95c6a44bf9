import pytest
import torch
from torch.func import vmap

from leakward.attacks import InvertingGradients
from leakward.defenses import TopK
from leakward.federated import LocalTraining, NoDefense, client_round, run_round
from leakward.tape import Tape
from leakward.threat import ThreatModel, observe
from leakward.types import Batch, generator


def test_by_hand():
    message = {"a": torch.tensor([[3.0, -5.0]]), "b": torch.tensor([1.0, 4.0])}
    memory = {"a": torch.tensor([[0.0, 0.0]]), "b": torch.tensor([-6.0, -1.0])}
    sent, kept = TopK(0.5).on_update(message, memory, Tape())
    assert torch.equal(sent["a"], torch.tensor([[0.0, -5.0]]))
    assert torch.equal(sent["b"], torch.tensor([-5.0, 0.0]))
    assert torch.equal(kept["a"], torch.tensor([[3.0, 0.0]]))
    assert torch.equal(kept["b"], torch.tensor([0.0, 3.0]))


@pytest.mark.parametrize(("keep", "entries"), [(1.0, 10), (0.35, 3), (1e-9, 1)])
def test_exactly_k_entries_are_sent_even_if_all_are_equal(keep, entries):
    message = {"v": torch.ones(10)}
    sent, _ = TopK(keep).on_update(message, {"v": torch.zeros(10)}, Tape())
    assert int(sent["v"].sum()) == entries


def test_nothing_is_lost_over_the_rounds(lenet):
    client = (lenet.task, lenet.state, lenet.images, lenet.labels, LocalTraining(batch_images=4))
    gradient = client_round(*client, NoDefense(), Tape()).update.tensors
    private, total = None, {name: torch.zeros_like(value) for name, value in gradient.items()}
    for _ in range(3):
        result = client_round(*client, TopK(0.1), Tape(), private)
        private = result.private
        total = {name: value + result.update.tensors[name] for name, value in total.items()}
    for name, value in gradient.items():
        torch.testing.assert_close(total[name] + private[name], 3 * value, rtol=1e-4, atol=1e-6)


def test_it_is_the_same_under_vmap():
    values = torch.randn(3, 50, generator=generator(0))
    memory = {"v": torch.zeros(50)}

    def send(value):
        return TopK(0.2).on_update({"v": value}, memory, Tape())[0]["v"]

    assert torch.equal(vmap(send)(values), torch.stack([send(value) for value in values]))


def test_the_attacker_who_knows_of_it_recovers_more(lenet):
    batch = Batch(lenet.images[:1], lenet.labels[:1])
    sent = run_round(lenet.task, lenet.state, batch, LocalTraining(), TopK(0.3), generator(0))
    attack = InvertingGradients(iterations=100, total_variation=0.0)
    error = {}
    for knowledge in ("unaware", "aware"):
        [found] = attack.recover([observe(sent, ThreatModel(knowledge, labels=True))], generator(1))
        error[knowledge] = float((found.images - batch.images).square().mean())
    assert error["aware"] < error["unaware"]
