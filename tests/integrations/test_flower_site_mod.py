"""The mod around all others: what leaves a client app of Flower is recorded, judged and entered, or an error leaves."""

import json
from pathlib import Path

import pytest
import torch
from flower_messages import Client, context, message, record
from flwr.app import ArrayRecord, Error, Message, MessageType
from opacus import PrivacyEngine

from leakward.integrations.flower import defense_mod, hand_over, live_site, site_mod
from leakward.live import Ledger, counted, load_private_batch
from leakward.models import TaskSpec, build_task, initial_state
from leakward.threat import load_capture
from leakward.types import generator

SITE = """
[site]
name = "clinic"

[task]
model = "mlp"
input_shape = [1, 12, 12]
num_classes = 2
options = { hidden = 3 }

[recipe]
share = "update"
"""
CLIPPING = json.dumps({"name": "clipping", "max_norm": 0.5})
WITHHELD = "leakward: the site withholds the update of this round; its log and its ledger say why"
TASK = build_task(TaskSpec("mlp", (1, 12, 12), 2, {"hidden": 3}))
BEFORE = initial_state(TASK, generator(0))
AFTER = {name: value + 0.125 for name, value in BEFORE.items()}
IMAGES, LABELS = torch.rand(4, 1, 12, 12, generator=generator(1)), torch.arange(4) % 2


@pytest.fixture
def site(tmp_path: Path):
    """Write the file of a site, and return the configuration that names it."""

    def make(more=""):
        path = tmp_path / "site.toml"
        path.write_text(SITE + more, encoding="utf-8")
        return {"leakward-site": str(path)}

    return make


def arrays(tensors, positions=False):
    named = {str(place): value.numpy() for place, value in enumerate(tensors.values())} if positions else tensors
    return {"arrays": ArrayRecord([*named.values()]) if positions else record(**named)}


def entries(folder: Path):
    return Ledger(folder / "leakward" / "ledger.jsonl").entries()


def captured(folder: Path, client: str = "clinic"):
    return load_capture(folder / "leakward" / client / "captures" / "000001").update.tensors


def handing(client):
    """Return the app of a client that hands its images over while it trains."""

    def app(message, context):
        hand_over(context, IMAGES[:1], LABELS[:1], IMAGES[1:], LABELS[1:])
        return client(message, context)

    return app


@pytest.mark.filterwarnings("ignore:Secure RNG")
def test_steps_of_opacus_in_the_train_function_are_entered(site, tmp_path):
    client = Client(**arrays(AFTER))

    def app(message, context):
        engine = PrivacyEngine(accountant="rdp")  # in a process of its own, of one message
        with counted(live_site(context), engine):
            engine.accountant.step(noise_multiplier=1.5, sample_rate=0.25)
        spent.append(engine.get_epsilon(1e-5))
        return client(message, context)

    spent, settings = [], site()
    for _ in range(2):
        site_mod(message(arrays(BEFORE)), context(settings), app)
    assert [entry.steps for entry in entries(tmp_path)] == [((1.5, 0.25, 1),)] * 2
    assert [entry.epsilon for entry in entries(tmp_path)] == pytest.approx(spent)


def test_what_leaves_is_captured_and_entered_and_stays_as_it_is(site, tmp_path):
    reply = site_mod(message(arrays(BEFORE)), context(site()), Client(**arrays(AFTER)))
    sent = dict(reply.content.array_records["arrays"].to_torch_state_dict())
    for name, value in AFTER.items():
        assert torch.equal(sent[name], value)
        torch.testing.assert_close(captured(tmp_path)[name], BEFORE[name] - value, rtol=0, atol=0)
    [entry] = entries(tmp_path)
    assert (entry.client, entry.round, entry.sent, entry.defense) == ("clinic", 3, True, {"name": "none"})


def test_the_images_are_those_that_the_train_function_handed_over(site, tmp_path):
    site_mod(message(arrays(BEFORE)), context(site()), handing(Client(**arrays(AFTER))))
    kept = load_private_batch(tmp_path / "leakward" / "clinic" / "private" / "000001.safetensors")
    assert torch.equal(kept.batch.images, IMAGES[:1])
    assert torch.equal(kept.others.labels, LABELS[1:])
    assert entries(tmp_path)[0].images == 1


def test_it_sees_what_leaves_defended(site, tmp_path):
    def defended(message, context):
        return defense_mod(message, context, Client(**arrays(AFTER)))

    here = context(site() | {"leakward-defense": CLIPPING})
    reply = site_mod(message(arrays(BEFORE)), here, defended)
    sent = dict(reply.content.array_records["arrays"].to_torch_state_dict())
    for name, value in captured(tmp_path).items():
        torch.testing.assert_close(value, BEFORE[name] - sent[name], rtol=0, atol=0)
    norm = torch.cat([value.flatten() for value in captured(tmp_path).values()]).norm()
    assert float(norm) == pytest.approx(0.5, abs=1e-5)
    assert entries(tmp_path)[0].defense["name"] == "clipping"
    assert load_capture(tmp_path / "leakward" / "clinic" / "captures" / "000001").threat.knowledge == "aware"


def test_each_partition_is_a_client_of_its_own(site, tmp_path):
    for part in (0, 1):
        node = context(site(), {"partition-id": part})
        site_mod(message(arrays(BEFORE), number=None, group="5"), node, Client(**arrays(AFTER)))
    assert [(entry.client, entry.round) for entry in entries(tmp_path)] == [("clinic-0", 5), ("clinic-1", 5)]
    assert captured(tmp_path, "clinic-1").keys() == BEFORE.keys()


def test_arrays_by_place_are_those_of_the_network_in_its_order(site, tmp_path):
    client = Client(**arrays(AFTER, positions=True))
    reply = site_mod(message(arrays(BEFORE, positions=True)), context(site()), client)
    assert reply.has_content()
    for name, value in AFTER.items():
        torch.testing.assert_close(captured(tmp_path)[name], BEFORE[name] - value, rtol=0, atol=0)


def test_one_array_by_place_too_few_is_withheld(site, tmp_path):
    fewer = dict([*AFTER.items()][:-1])
    client = Client(**arrays(fewer, positions=True))
    reply = site_mod(message(arrays(BEFORE, positions=True)), context(site()), client)
    assert reply.error.reason == WITHHELD
    assert "the weights that are to leave: expected" in entries(tmp_path)[0].reason


def test_what_the_gate_withholds_is_an_error_that_says_no_more(site, tmp_path):
    gated = context(site("[gate]"))
    reply = site_mod(message(arrays(BEFORE)), gated, Client(**arrays(AFTER)))
    assert not reply.has_content()
    assert (reply.error.code, reply.error.reason) == (6, WITHHELD)
    [entry] = entries(tmp_path)
    assert not entry.sent
    assert "handed over no images" in entry.reason


def test_images_of_a_round_that_failed_are_not_those_of_the_next(site, tmp_path):
    def failing(message, context):
        hand_over(context, IMAGES[:1], LABELS[:1], IMAGES[1:], LABELS[1:])
        raise KeyError("patient 17")

    gated = context(site("[gate]"))
    reply = site_mod(message(arrays(BEFORE)), gated, failing)
    assert reply.error.reason == "leakward: KeyError; nothing is sent"
    site_mod(message(arrays(BEFORE)), gated, Client(**arrays(AFTER)))
    assert "handed over no images" in entries(tmp_path)[0].reason


def test_a_defence_that_is_set_has_to_be_inside(site, tmp_path):
    here = context(site() | {"leakward-defense": CLIPPING})

    def inner(message, context):
        return site_mod(message, context, Client(**arrays(AFTER)))

    for around in (lambda *told: site_mod(*told, Client(**arrays(AFTER))), lambda *told: defense_mod(*told, inner)):
        reply = around(message(arrays(BEFORE)), here)
        assert "expected defense_mod inside of site_mod" in reply.error.reason
    assert entries(tmp_path) == []


@pytest.mark.parametrize("path", [None, "", "site.toml", 3])
def test_a_client_of_no_site_does_not_train(path):
    client = Client(**arrays(AFTER))
    reply = site_mod(message(arrays(BEFORE)), context({} if path is None else {"leakward-site": path}), client)
    assert "leakward-site" in reply.error.reason
    assert client.calls == 0


def test_what_is_wrong_with_the_file_is_for_the_site_alone(site, caplog):
    client = Client(**arrays(AFTER))
    reply = site_mod(message(arrays(BEFORE)), context(site("secret = 3")), client)
    assert reply.error.reason == "leakward: the file of the site cannot be used; the site's log says why"
    assert "secret" in caplog.text
    assert client.calls == 0


def test_evaluation_passes_without_a_site():
    reply = site_mod(message(arrays(BEFORE), MessageType.EVALUATE), context(), Client(**arrays(AFTER)))
    assert reply.has_content()


def test_an_error_of_the_client_passes(site, tmp_path):
    def failing(message, context):
        return Message(Error(2, "no data"), reply_to=message)

    assert site_mod(message(arrays(BEFORE)), context(site()), failing).error.reason == "no data"
    assert entries(tmp_path) == []
