"""All that a client is about to send, and the hooks that see it."""

from dataclasses import dataclass, replace

import pytest
import tiny_networks as tiny
import torch
from torch.testing import assert_close

from leakward.federated import Chain, Defense, Evidence, LocalTraining, NoDefense, Reply, client_update
from leakward.tape import Tape
from leakward.types import generator

RECIPES = {
    "gradient": LocalTraining(batch_images=4, learning_rate=0.5),
    "update": LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2),
    "train": LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2, mode="train"),
}


@dataclass(frozen=True)
class Halve(Defense):
    """Halve what is sent, in the message and in the buffers, and remember the reply."""

    def on_reply(self, reply, private, tape):
        SEEN.append(reply)
        halved = {name: value / 2 for name, value in reply.message.items()}
        buffers = {name: value / 2 if value.is_floating_point() else value for name, value in reply.buffers.items()}
        return replace(reply, message=halved, buffers=buffers), private

    def interpret(self, seen, clients=1):
        """Double it, and trust by how many came together."""
        doubled = {name: 2 * value for name, value in seen.message.items()}
        return Evidence(doubled, {n: torch.full_like(v, 1 / clients) for n, v in seen.message.items()})


@dataclass(frozen=True)
class AddOne(Defense):
    """Add one to every entry of the message."""

    def on_update(self, message, private, tape):
        return {name: value + 1 for name, value in message.items()}, private

    def evidence(self, message, images, *_):
        return Evidence({n: v - 1 for n, v in message.items()}, {n: torch.ones_like(v) for n, v in message.items()})


SEEN = []


def send(network, defense, recipe):
    task, state = network
    rng = generator(1)
    images = torch.rand(4, *tiny.SHAPE, generator=rng).to(next(iter(state.values())))
    return client_update(task, state, images, torch.arange(4) % 3, RECIPES[recipe], defense, Tape(rng))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_reply_is_the_clients_whole_model(recipe):
    network = task, state = tiny.make(tiny.normalised)
    SEEN.clear()
    plain, halved = (send(network, defense, recipe) for defense in (NoDefense(), Halve()))
    [reply] = SEEN
    assert reply.before is state
    assert list(reply.after) == list(state)
    rate = 0.5 if recipe == "gradient" else 1.0
    assert reply.steps == (1 if recipe == "gradient" else 4)
    for name in task.parameter_names:
        assert_close(reply.after[name], state[name] - rate * plain.tensors[name])
        assert torch.equal(halved.tensors[name], plain.tensors[name] / 2)
    for name in state.keys() - set(task.parameter_names):
        moves = recipe == "train"
        assert torch.equal(reply.after[name], state[name]) != moves
        assert (name in halved.buffers) == moves
        if moves and state[name].is_floating_point():
            assert torch.equal(halved.buffers[name], plain.buffers[name] / 2)


@pytest.mark.parametrize(("parts", "expected"), [((Halve(), AddOne()), 2.5), ((AddOne(), Halve()), 2.0)])
def test_a_chain_keeps_the_order_of_parts_that_see_different_things(parts, expected):
    chain = Chain(parts)
    reply = Reply({"w": torch.zeros(2)}, {"w": torch.full((2,), 3.0)}, {}, 1, LocalTraining())
    sent, _ = chain.on_reply(reply, {}, Tape())
    assert torch.equal(sent.message["w"], torch.full((2,), expected))
    assert torch.equal(chain.interpret(sent).message["w"], reply.message["w"])
    assert torch.equal(chain.interpret(sent, clients=4).weight["w"], torch.full((2,), 0.25))
