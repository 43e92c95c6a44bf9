"""What mods of Flower have in common: the messages that concern them, what these hold, and the reply that refuses."""

from collections.abc import Callable, Sequence
from functools import wraps

from flwr.app import Context, Error, Message, MessageType

from leakward.errors import CaptureError, LeakwardError
from leakward.live.telling import told_to_the_site
from leakward.types import Tensors

REFUSED = 6
"""Flower's code for a mod whose conditions are not met; it has no public name."""
APPLIED = "leakward-defense-applied"
"""Where ``defense_mod`` tells the mods around it, in the state of the client, that it has defended this reply."""

Call = Callable[[Message, Context], Message]
Mod = Callable[[Message, Context, Call], Message]


def on_training(mod: Mod) -> Mod:
    """Return ``mod`` for messages that ask for training, under whatever name; all others pass.

    Whatever it raises becomes an error reply, so that nothing leaves.
    """

    @wraps(mod)
    def closed(message: Message, context: Context, call_next: Call) -> Message:
        if message.metadata.message_type.partition(".")[0] != MessageType.TRAIN:
            return call_next(message, context)
        try:
            with told_to_the_site("the files of the site cannot be used", CaptureError):
                return mod(message, context, call_next)
        except LeakwardError as error:
            reason = str(error)
        except Exception as error:  # its words may hold what must not be told
            reason = f"{type(error).__name__}; nothing is sent"
        return Message(Error(REFUSED, f"leakward: {reason}"), reply_to=message)

    return closed


def setting(context: Context, name: str) -> str | None:
    """Return a setting of the node, or else of the run; None where neither has it, or it is no text."""
    found = context.node_config.get(name, context.run_config.get(name))
    return found if isinstance(found, str) else None


def only_arrays(message: Message) -> tuple[str, Tensors]:
    """Return the one record of arrays of a message, and its name.

    Raises:
        LeakwardError: If there is none, or more than one.
    """
    records = message.content.array_records
    if len(records) != 1:
        raise LeakwardError(f"expected one record of arrays in a message, got {len(records)}; send the weights alone")
    [(name, record)] = records.items()
    return name, dict(record.to_torch_state_dict())


def by_name(tensors: Tensors, names: Sequence[str]) -> Tensors:
    """Return ``tensors`` by the names of a network, where a message of Flower's old interface has them by place."""
    if tensors.keys() != {str(place) for place in range(len(names))}:
        return tensors
    return {name: tensors[str(place)] for place, name in enumerate(names)}


def round_of(message: Message) -> int:
    """Return the number of the round, or 0 where the message does not say."""
    told = [record.get("server-round") for record in message.content.config_records.values()]
    found = [str(number) for number in (*told, message.metadata.group_id) if str(number).isdecimal()]
    return int(found[0]) if found else 0
