"""Tensors as Flower carries them: floating ones, by name.

Whole numbers, such as the step counters of BatchNorm, are not sent: strategies would average them, and no arithmetic
of the network depends on them. Both sides keep those that the network was built with.
"""

from flwr.app import ArrayRecord, Message

from leakward.errors import ModelError
from leakward.models import Task
from leakward.types import Tensors


def pack(tensors: Tensors) -> ArrayRecord:
    """Return what is sent of ``tensors``."""
    return ArrayRecord({name: value for name, value in tensors.items() if value.is_floating_point()})


def unpack(record: ArrayRecord) -> Tensors:
    """Return the tensors of a record."""
    return dict(record.to_torch_state_dict())


def state_of(task: Task, record: ArrayRecord) -> Tensors:
    """Return a whole state of ``task`` from what was sent of one; some strategies send it in another precision.

    Raises:
        ModelError: If it is of another network.
    """
    built, sent = {name: value.detach() for name, value in task.model.state_dict().items()}, unpack(record)
    expected = {name: value.shape for name, value in built.items() if value.is_floating_point()}
    if {name: value.shape for name, value in sent.items()} != expected:
        raise ModelError(
            f"model {task.spec.model!r}: expected the weights of this network, got others; "
            "give server and clients the same [model] and data of the same shape"
        )
    return {name: sent[name].to(value.dtype) if name in sent else value for name, value in built.items()}


def size(message: Message) -> int:
    """Return the bytes of all records of a message; 0 for an error."""
    if message.has_error():
        return 0
    content = message.content
    records = (*content.array_records.values(), *content.metric_records.values(), *content.config_records.values())
    return sum(record.count_bytes() for record in records)
