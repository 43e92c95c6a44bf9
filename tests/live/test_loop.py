"""Three lines around a training step, with Opacus too."""

import pytest
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from leakward.errors import WithheldError
from leakward.live import LiveSite, read_site, watched
from leakward.models import TaskSpec, build_task


@pytest.fixture
def model(trained) -> nn.Module:
    network = build_task(TaskSpec("cnn6", (1, 16, 16), 4, {"width": 4})).model
    network.load_state_dict(trained.before)
    return network


def step(model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    F.cross_entropy(model(batch.images), batch.labels).backward()
    optimizer.step()


def test_what_the_block_makes_of_the_model_is_entered(site_file, trained, model):
    site = LiveSite(read_site(site_file), "clinic-a")
    with watched(site, model, trained.batch, number=3):
        step(model, trained.batch.batch)
    [entry] = site.ledger.entries()
    assert (entry.round, entry.sent, entry.images) == (3, True, 1)


def test_weights_that_must_not_leave_are_taken_back(site_file, trained, model):
    site = LiveSite(read_site(site_file), "clinic-a")
    with pytest.raises(WithheldError), watched(site, model, trained.batch), torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained.before[name])


@pytest.mark.filterwarnings("ignore")  # Opacus warns of its random numbers, and of hooks
def test_epsilon_of_opacus_is_that_of_all_rounds_across_restarts(site_file, trained, model):
    data = DataLoader(TensorDataset(trained.batch.others.images, trained.batch.others.labels), batch_size=13)
    site = LiveSite(read_site(site_file), "clinic-a")
    spent = []
    for restart in range(2):
        engine = PrivacyEngine(accountant="rdp")
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        private = engine.make_private(
            module=model, optimizer=optimizer, data_loader=data, noise_multiplier=1.5, max_grad_norm=1.0,
            wrap_model=False,
        )  # fmt: skip
        hooks, optimizer, loader = private[0], private[1], private[2]
        for number in range(2):
            with watched(site, model, trained.batch, engine=engine, number=2 * restart + number + 1):
                for images, labels in loader:
                    optimizer.zero_grad()
                    F.cross_entropy(model(images), labels).backward()
                    optimizer.step()
        spent.append(engine.get_epsilon(1e-5))
        hooks.cleanup()
    entries = site.ledger.entries()
    assert [entry.steps for entry in entries] == [((1.5, pytest.approx(1 / 3), 3),)] * 4
    assert entries[1].epsilon == pytest.approx(spent[0])
    assert entries[3].epsilon == pytest.approx(spent[1])
    assert spent[1] > spent[0]
