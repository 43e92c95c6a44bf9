"""What a client sends with and without an engine's filter."""

from leakward.federated import LocalTraining, NoDefense, Reply, client_round
from leakward.tape import Tape
from leakward.types import generator

TRAIN = LocalTraining(share="update", batch_images=4, epochs=2, minibatch=2, mode="train", learning_rate=0.1)
GRADIENT = LocalTraining(batch_images=4, learning_rate=0.1)


def send(client, defense, recipe, tape=None):
    tape = tape or Tape(generator(0))
    return client_round(client.task, client.state, client.images, client.labels, recipe, defense, tape).update


def own(client, recipe):
    """Return what the client would send without any filter."""
    sent = send(client, NoDefense(), recipe)
    buffers = sent.buffers or client.task.split(client.state)[1]
    return Reply(client.state, sent.tensors, buffers, sent.images, recipe)
