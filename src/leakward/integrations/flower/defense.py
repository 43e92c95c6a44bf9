"""The mod that defends what a client is about to send."""

from flwr.app import ArrayRecord, ConfigRecord, Context, Message

from leakward.errors import LeakwardError
from leakward.integrations.flower.messages import APPLIED, Call, on_training, only_arrays, setting
from leakward.integrations.message_level import SETTING, protect, read_defense, secret_tape
from leakward.types import Tensors

KEPT = "leakward-defense-kept"
"""Where the client keeps what a defence needs in its next round."""


@on_training
def defense_mod(message: Message, context: Context, call_next: Call) -> Message:
    """Let the client train, and reply with its defended weights; other messages pass.

    Args:
        message: Holds the weights, alone.
        context: Of the client; keeps the defence's helpers.
        call_next: The client, or the mods around it.
    """
    table = setting(context, SETTING)
    if table is None:
        raise LeakwardError(
            f"expected {SETTING} in the node's or the run's configuration, got none; set it to a defence's table as "
            'JSON, {"name": "none"} for none'
        )
    defense = read_defense(table)
    before = only_arrays(message)[1]
    reply = call_next(message, context)
    if reply.has_error():
        return reply
    name, after = only_arrays(reply)
    sent, kept = protect(defense, before, after, _kept(context), secret_tape())
    reply.content[name] = ArrayRecord({**sent})
    context.state[KEPT] = ArrayRecord({**kept})
    context.state[APPLIED] = ConfigRecord({SETTING: table})
    return reply


def _kept(context: Context) -> Tensors:
    records = context.state.array_records
    return dict(records[KEPT].to_torch_state_dict()) if KEPT in records else {}
