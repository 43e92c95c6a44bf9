"""``SiteFilter``: the door of a site, through which every update of a client leaves, or does not."""

from collections.abc import Mapping
from typing import Any

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants

from leakward.errors import DefenseError, LeakwardError
from leakward.federated import Chain, Defense, NoDefense
from leakward.federated.chain import parts_of
from leakward.integrations.message_level import unhonoured
from leakward.integrations.nvflare.payload import APPLIED, BEGUN, blocking, sent_model, tensors, weights_of
from leakward.integrations.nvflare.sites import site_of_task
from leakward.parts import read_parts
from leakward.types import Tensors


class SiteFilter(Filter):
    """Record, judge and enter what a client is about to send; it needs ``SentModelFilter``, and stands last.

    Args:
        site: Path of the site's file.
        defense: Table of what protects the update before it comes to the filters, such as ``dp-sgd`` in the training.
            What ``DefenseFilter`` applies is known without it.
    """

    def __init__(self, site: str, defense: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.site = site  # as they were given: FLARE writes a job's configuration from fields of these names
        self.defense = defense
        self.trained_with = () if defense is None else _in_training(defense)

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Return a result that may leave; of one that says that the task failed, nothing but that.

        Raises:
            ContentBlockedException: If the site withholds it, or anything is not as expected.
        """
        with blocking():
            client, code = site_of_task(self.site, fl_ctx), shareable.get_return_code()
            if code != ReturnCode.OK:
                client.start()  # the images of this round are of no other
                return make_reply(code)
            before = sent_model(fl_ctx)
            after = _after(weights_of(shareable), before)
            begun = bool(fl_ctx.get_prop(BEGUN))
            client.release(before, after, self._defense(fl_ctx), _round(shareable), begun=begun)
        return shareable

    def _defense(self, fl_ctx: FLContext) -> Defense:
        parts = (*self.trained_with, *fl_ctx.get_prop(APPLIED, ()))
        return Chain(parts) if len(parts) > 1 else parts[0] if parts else NoDefense()


def _in_training(table: Mapping[str, Any]) -> tuple[Defense, ...]:
    """Return the defences of ``table``, none of them one of ``DefenseFilter``, which would then count twice."""
    problems: list[str] = []
    made = read_parts("defenses", [table], "SiteFilter", problems)
    if problems:
        raise DefenseError("; ".join(problems))
    parts = tuple(part for part in parts_of(made[0]) if not isinstance(part, NoDefense))
    for part in parts:
        if not unhonoured(part):
            raise DefenseError(
                f"SiteFilter: expected a defence that acts before the filters, got {type(part).__name__}, which acts "
                "on the message; give it to DefenseFilter alone"
            )
    return parts


def _after(dxo: DXO, before: Tensors) -> Tensors:
    """Return the weights that the server will hold of this client."""
    sent = tensors(dxo)
    if dxo.data_kind == DataKind.WEIGHTS:
        return sent
    for name, value in sent.items():
        if name not in before or before[name].shape != value.shape:
            raise LeakwardError(f"expected the change of weights that came, got that of {name!r}, which did not")
    return {name: before[name] + value.to(before[name]) for name, value in sent.items()}


def _round(shareable: Shareable) -> int:
    """Return the round as FLARE counts, from 0; what is no number must not come into the ledger."""
    found = shareable.get_header(AppConstants.CURRENT_ROUND)
    return found if type(found) is int else 0
