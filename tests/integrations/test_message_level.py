"""What an engine's hook makes of weights: what the simulator sends, or nothing at all."""

import json

import pytest
import torch

from leakward import registry
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining, NoDefense, client_round
from leakward.integrations.message_level import protect, read_defense, secret_tape
from leakward.settings import plain_fields
from leakward.tape import Tape
from leakward.training.client import apply_update
from leakward.types import generator

RECIPE = LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2, mode="train", learning_rate=0.1)
MESSAGE_LEVEL = {
    "none": {},
    "gaussian-noise": {"std": 0.1},
    "laplacian-noise": {"scale": 0.1},
    "clipping": {"max_norm": 0.01},
    "pruning": {"ratio": 0.5},
    "sign": {},
    "quantise": {},
    "top-k": {"keep": 0.2},
    "local-dp": {"max_norm": 0.1},
    "withheld-layers": {},
}
REST = sorted(registry.names("defenses").keys() - MESSAGE_LEVEL.keys())


def make(name):
    return read_defense({"name": name, **MESSAGE_LEVEL[name]})


def trained(client, defense, tape, private=None):
    """Return the weights that the simulated client sends, and what it keeps."""
    done = client_round(client.task, client.state, client.images, client.labels, RECIPE, defense, tape, private)
    return apply_update(client.state, done.update, RECIPE), done.private


@pytest.mark.parametrize("name", MESSAGE_LEVEL)
def test_a_client_sends_what_the_simulated_one_sends(client, name):
    defense, tape = make(name), Tape(generator(1))
    plain, kept, simulated = trained(client, NoDefense(), Tape())[0], {}, None
    for _ in range(2):
        expected, simulated = trained(client, defense, tape, simulated)
        noise = tape.values[-len(tape.draws) :]
        sent, kept = protect(defense, client.state, plain, kept, Tape(values=noise))
        tape = Tape(generator(2))
        assert sent.keys() == plain.keys()
        for key, value in expected.items():
            torch.testing.assert_close(sent[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REST)
def test_a_defence_that_needs_more_than_the_message_is_refused_by_name(name):
    kind = registry.load("defenses", name)
    with pytest.raises(DefenseError, match=f"{kind.__name__}: expected a defence that changes the message alone"):
        read_defense({"name": name})


def test_a_part_of_a_chain_is_refused_too():
    parts = [{"name": "clipping"}, {"name": "bido"}]
    with pytest.raises(DefenseError, match=r"BiDO: .*acts at on_task, on_objective; run it inside the training"):
        read_defense({"name": "chain", "parts": parts})


def test_a_chain_on_messages_is_read_from_json():
    parts = [{"name": "clipping", "max_norm": 0.5}, {"name": "gaussian-noise", "std": 0.25}]
    found = read_defense(json.dumps({"name": "chain", "parts": parts}))
    assert isinstance(found, Chain)
    assert [plain_fields(part) for part in found.parts] == [{"max_norm": 0.5}, {"std": 0.25}]


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "nothing"}', '{"name": "clipping", "max_norm": -1}', "3"])
def test_what_is_no_defence_is_refused(text):
    with pytest.raises(DefenseError, match="leakward-defense"):
        read_defense(text)


def test_batch_statistics_and_whole_numbers_pass():
    before = {"bn.running_mean": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(3), "w": torch.zeros(2)}
    after = {"bn.running_mean": torch.ones(2), "bn.num_batches_tracked": torch.tensor(5), "w": torch.ones(2)}
    sent, _ = protect(make("clipping"), before, after, {}, Tape())
    assert torch.equal(sent["bn.running_mean"], torch.ones(2))
    assert int(sent["bn.num_batches_tracked"]) == 5
    assert float(torch.linalg.vector_norm(sent["w"])) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        ({"w": torch.zeros(2)}, {"v": torch.ones(2)}, "'v', which is missing"),
        ({"w": torch.zeros(3)}, {"w": torch.ones(2)}, "of another shape"),
        ({"n": torch.tensor(1)}, {"n": torch.tensor(2)}, "none of floating numbers"),
        ({"w": torch.zeros(2)}, {"w": torch.tensor([1.0, torch.nan])}, "expected finite numbers"),
        ({"w": torch.tensor([0.0, torch.inf])}, {"w": torch.ones(2)}, "expected finite numbers"),
    ],
)
def test_weights_that_cannot_be_defended_are_refused(before, after, match):
    with pytest.raises(DefenseError, match=match):
        protect(make("clipping"), before, after, {}, Tape())


def test_nobody_can_repeat_the_noise():
    like = torch.zeros(4)
    assert not torch.equal(secret_tape().normal((4,), like), secret_tape().normal((4,), like))
