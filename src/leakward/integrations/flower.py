"""Leakward at a client of Flower (from 1.41): a mod that defends what a client app replies with.

    @app.train(mods=[defense_mod])
    def train(message, context): ...

The defence stands under ``leakward-defense``, as the JSON of a plan's table: in the node's configuration, where the
site sets it (``flower-supernode --node-config``), or else in the run's (``[tool.flwr.app.config]``). The site's counts.
A client that cannot be defended sends an error instead. Mods that mask what is sent, as secure aggregation does, belong
before this one in the list, which puts them around it.
"""

from collections.abc import Callable

from flwr.app import ArrayRecord, Context, Error, Message, MessageType

from leakward.errors import LeakwardError
from leakward.integrations.message_level import SETTING, protect, read_defense, secret_tape
from leakward.types import Tensors

REFUSED = 6
"""Flower's code for a mod whose conditions are not met; it has no public name."""
KEPT = "leakward-defense-kept"
"""Where the client keeps what a defence needs in its next round."""


def defense_mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Let the client train, and reply with its defended weights; other messages pass.

    Args:
        message: Holds the weights, alone.
        context: Of the client; keeps the defence's helpers.
        call_next: The client, or the mods around it.
    """
    if message.metadata.message_type != MessageType.TRAIN:
        return call_next(message, context)
    try:
        defense = read_defense(_setting(context))
        before = _only(message)[1]
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        name, after = _only(reply)
        sent, kept = protect(defense, before, after, _kept(context), secret_tape())
        reply.content[name] = ArrayRecord({**sent})
        context.state[KEPT] = ArrayRecord({**kept})
    except LeakwardError as error:
        return Message(Error(REFUSED, f"leakward: {error}"), reply_to=message)
    except Exception as error:  # whatever happens, nothing leaves undefended
        return Message(Error(REFUSED, f"leakward: {type(error).__name__}; nothing is sent"), reply_to=message)
    return reply


def _setting(context: Context) -> str:
    found = context.node_config.get(SETTING, context.run_config.get(SETTING))
    if not isinstance(found, str):
        raise LeakwardError(
            f"expected {SETTING} in the node's or the run's configuration, got none; set it to a defence's table as "
            'JSON, {"name": "none"} for none'
        )
    return found


def _only(message: Message) -> tuple[str, Tensors]:
    """Return the one record of arrays of a message, and its name."""
    records = message.content.array_records
    if len(records) != 1:
        raise LeakwardError(f"expected one record of arrays in a message, got {len(records)}; send the weights alone")
    [(name, record)] = records.items()
    return name, dict(record.to_torch_state_dict())


def _kept(context: Context) -> Tensors:
    records = context.state.array_records
    return dict(records[KEPT].to_torch_state_dict()) if KEPT in records else {}
