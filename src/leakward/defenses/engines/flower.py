"""Mods of Flower (from 1.41) at a client, called as the engine calls them: with a message, and a client that replies.

They see the model that the server sent and the client's own, both whole, take the difference, and reply with the model
plus what they made of it. A reply that is an error is one here.
"""

import time
from typing import Any

import numpy as np

from leakward.defenses.engines.operator import Arrays
from leakward.errors import DefenseError
from leakward.quiet import quiet


def local_dp(before: Arrays, after: Arrays, **settings: float) -> Arrays:
    """Return what ``LocalDpMod`` with ``settings`` makes of a client's weights.

    Args:
        before: Weights and buffers that the server sent.
        after: The client's.
        settings: Of the mod.
    """
    from flwr.clientapp.mod import LocalDpMod

    return _through(LocalDpMod(**settings), before, _moved(before, after), {})


def _moved(before: Arrays, after: Arrays) -> Arrays:
    """Return ``after``, one weight moved by rounding where nothing has changed: Flower divides by the change's length.

    A client whose sample of the round was empty has noise to send nevertheless.
    """
    if any((after[name] != value).any() for name, value in before.items()):
        return after
    name = next(name for name, value in after.items() if value.dtype.kind == "f" and value.size)
    moved = after[name].copy()
    moved.flat[0] = np.nextafter(moved.flat[0], np.inf, dtype=moved.dtype)
    return after | {name: moved}


def fixed_clipping(before: Arrays, after: Arrays, clipping_norm: float) -> Arrays:
    """Return what ``fixedclipping_mod`` makes of a client's weights, with a bound that the server sends along."""
    from flwr.clientapp.mod import fixedclipping_mod

    return _through(fixedclipping_mod, before, after, {"clipping_norm": clipping_norm})


def adaptive_clipping(before: Arrays, after: Arrays, clipping_norm: float) -> Arrays:
    """Return what ``adaptiveclipping_mod`` makes of a client's weights, with the bound of this round."""
    from flwr.clientapp.mod import adaptiveclipping_mod

    return _through(adaptiveclipping_mod, before, after, {"clipping_norm": clipping_norm})


def _through(mod: Any, before: Arrays, after: Arrays, config: dict[str, float]) -> Arrays:
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

    def record(arrays: Arrays) -> ArrayRecord:
        return ArrayRecord({name: Array(value) for name, value in arrays.items()})

    def client(message: Message, context: Context) -> Message:
        del context
        return Message(RecordDict({"arrays": record(after), "metrics": MetricRecord({})}), reply_to=message)

    message = _instruction(RecordDict({"arrays": record(before), "config": ConfigRecord({**config})}))
    try:
        with quiet("flwr"):
            reply = mod(message, Context(1, 1, {}, RecordDict(), {}), client)
    except (TypeError, ArithmeticError) as error:
        raise DefenseError(f"Flower's mod: expected floating arrays and some change of the weights, got: {error}; "
                           "send no arrays of whole numbers, and train with a larger rate") from error  # fmt: skip
    if reply.has_error():
        raise DefenseError(f"Flower's mod: expected a filtered reply, got: {reply.error.reason}; correct what it asks")
    return {name: value.numpy() for name, value in reply.content.array_records["arrays"].items()}


def _instruction(content: Any) -> Any:
    """Return a message to a client. With metadata of its own it needs no running app, but its types leave them out."""
    from flwr.app import Message, MessageType, Metadata

    metadata = Metadata(1, "", 1, 1, "", "", time.time(), 3600.0, MessageType.TRAIN)
    make: Any = Message
    return make(content, metadata=metadata)
