"""The mod that records, judges and enters what is about to leave, and what a train function hands over for it."""

from pathlib import Path

from flwr.app import Context, Message
from jaxtyping import Float, Int
from torch import Tensor

from leakward.errors import LeakwardError, PlanError
from leakward.federated import Defense, NoDefense
from leakward.integrations.flower.messages import APPLIED, Call, by_name, on_training, only_arrays, round_of, setting
from leakward.integrations.message_level import SETTING, read_defense
from leakward.live import LiveSite, PrivateBatch, read_site
from leakward.live.telling import told_to_the_site
from leakward.models import build_task
from leakward.types import Batch, Tensors

SITE = "leakward-site"
"""Where the path of the site's file is: a key of Flower's configuration."""


@on_training
def site_mod(message: Message, context: Context, call_next: Call) -> Message:
    """Let the client train, and reply with its weights if the site lets them leave; other messages pass.

    Args:
        message: Holds the weights, alone.
        context: Of the client.
        call_next: The client, or the mods around it, ``defense_mod`` among them where a defence is set.
    """
    site = live_site(context)
    site.start()
    context.state.pop(APPLIED, None)
    before = only_arrays(message)[1]
    reply = call_next(message, context)
    if reply.has_error():
        return reply
    before, after = (_named(site, tensors) for tensors in (before, only_arrays(reply)[1]))
    site.release(before, after, _applied(context), round_of(message))
    return reply


def live_site(context: Context) -> LiveSite:
    """Return the site of a node; its client is named after the site, and after the node's partition if it has one.

    Raises:
        LeakwardError: If no file is named by an absolute path, or it cannot be used.
    """
    path = setting(context, SITE)
    if path is None or not Path(path).is_absolute():
        raise LeakwardError(
            f"expected {SITE} in the node's or the run's configuration, got {path!r}; set it to the absolute path of "
            "the site's file"
        )
    with told_to_the_site("the file of the site cannot be used", PlanError):
        settings = read_site(Path(path))
    part = context.node_config.get("partition-id")
    return LiveSite(settings, settings.home.name if part is None else f"{settings.home.name}-{int(part)}")


def hand_over(
    context: Context,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    other_images: Float[Tensor, "n c h w"],
    other_labels: Int[Tensor, " n"],
) -> None:
    """Leave the images of this round with the site, from within the train function; they go nowhere else.

    Args:
        context: Of the client.
        images: That it trains on, in [0, 1].
        labels: Of these.
        other_images: Others that it holds, in [0, 1].
        other_labels: Of these.

    Raises:
        LeakwardError: If there is no site, or the images are none.
    """
    live_site(context).keep(PrivateBatch(Batch(images, labels), Batch(other_images, other_labels)))


def _named(site: LiveSite, tensors: Tensors) -> Tensors:
    if "0" not in tensors:
        return tensors
    return by_name(tensors, [*build_task(site.settings.task).model.state_dict()])


def _applied(context: Context) -> Defense:
    """Return the defence of this reply, which is that of the configuration or an error."""
    table, done = setting(context, SETTING), context.state.pop(APPLIED, None)
    if table is None:
        return NoDefense()
    if done is None:
        raise LeakwardError(
            f"{SETTING} is set: expected defense_mod inside of site_mod, got none; write mods=[site_mod, defense_mod]"
        )
    return read_defense(table)
