"""The mod around a client app of Flower: defended weights leave, or an error does."""

import json

import pytest
import torch
from flower_messages import Client, context, message, record
from flwr.app import Error, Message, MessageType

from leakward.integrations.flower import defense_mod

CLIPPING = json.dumps({"name": "clipping", "max_norm": 0.5})
SENT = {"arrays": record(w=[1.0, 1.0])}


def sent(reply):
    return dict(reply.content.array_records["arrays"].to_torch_state_dict())["w"]


@pytest.mark.parametrize("kind", ["train", "train.on_demand"])
def test_what_leaves_is_defended_and_the_rest_is_as_it_was(kind):
    client = Client(arrays=record(w=[4.0, 5.0]))
    reply = defense_mod(message(SENT, kind), context({"leakward-defense": CLIPPING}), client)
    torch.testing.assert_close(sent(reply), torch.tensor([1.3, 1.4]))
    assert reply.content.metric_records["metrics"]["num-examples"] == 4


def test_the_site_overrules_the_run():
    own = {"leakward-defense": json.dumps({"name": "sign"})}
    client = Client(arrays=record(w=[4.0, 0.5]))
    reply = defense_mod(message(SENT), context({"leakward-defense": CLIPPING}, own), client)
    change = sent(reply) - 1
    assert float(change[0]) == -float(change[1]) > 0


def test_what_is_kept_back_comes_in_a_later_round():
    site = context({"leakward-defense": json.dumps({"name": "top-k", "keep": 0.5})})
    client = Client(arrays=record(w=[4.0, 3.0]))
    assert sent(defense_mod(message(SENT), site, client)).tolist() == [4.0, 1.0]
    assert sent(defense_mod(message(SENT), site, client)).tolist() == [1.0, 5.0]


def test_evaluation_passes_without_a_defence():
    reply = defense_mod(message(SENT, MessageType.EVALUATE), context(), Client(arrays=record(w=[2.0, 2.0])))
    assert sent(reply).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("setting", [None, "{", '{"name": "bido"}', 3])
def test_a_client_without_a_defence_that_can_be_applied_does_not_train(setting):
    client = Client(arrays=record(w=[2.0, 2.0]))
    config = {} if setting is None else {"leakward-defense": setting}
    reply = defense_mod(message(SENT), context(config), client)
    assert reply.error.code == 6
    assert reply.error.reason.startswith("leakward: ")
    assert client.calls == 0


@pytest.mark.parametrize(
    ("replied", "reason"),
    [
        ({"arrays": record(w=[float("nan"), 1.0])}, "finite"),
        ({"arrays": record(v=[1.0, 1.0])}, "missing"),
        ({"arrays": record(w=[1.0, 1.0]), "more": record(w=[1.0, 1.0])}, "one record of arrays in a message, got 2"),
        ({}, "got 0"),
    ],
)
def test_weights_that_cannot_be_defended_do_not_leave(replied, reason):
    reply = defense_mod(message(SENT), context({"leakward-defense": CLIPPING}), Client(**replied))
    assert not reply.has_content()
    assert reason in reply.error.reason


def test_an_error_says_nothing_of_what_it_is_about():
    def broken(message, context):
        raise KeyError("patient 17")

    reply = defense_mod(message(SENT), context({"leakward-defense": CLIPPING}), broken)
    assert reply.error.reason == "leakward: KeyError; nothing is sent"


def test_an_error_of_the_client_passes():
    def failing(message, context):
        return Message(Error(2, "no data"), reply_to=message)

    reply = defense_mod(message(SENT), context({"leakward-defense": CLIPPING}), failing)
    assert reply.error.reason == "no data"
