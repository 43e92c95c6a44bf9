"""Messages to a client app of Flower, its context, and an app that replies what it is told to."""

import time

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, Metadata, MetricRecord, RecordDict


def message(arrays, kind=MessageType.TRAIN, number=3, group=""):
    config = {"lr": 0.1} | ({} if number is None else {"server-round": number})
    content = RecordDict({**arrays, "config": ConfigRecord(config)})
    return Message(content, metadata=Metadata(1, "", 1, 1, "", group, time.time(), 3600.0, kind))


def context(run=None, node=None):
    return Context(1, 1, node or {}, RecordDict(), run or {})


def record(**tensors):
    return ArrayRecord({name: torch.as_tensor(value) for name, value in tensors.items()})


class Client:
    """A client app that replies with ``arrays``, and counts how often it was called."""

    def __init__(self, **arrays):
        self.arrays, self.calls = arrays, 0

    def __call__(self, message, context):
        self.calls += 1
        return Message(RecordDict({**self.arrays, "metrics": MetricRecord({"num-examples": 4})}), reply_to=message)
