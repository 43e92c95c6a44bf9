"""``DefenseFilter``, and ``SentModelFilter`` for clients that send whole weights, as FLARE's recipes have it."""

from collections.abc import Mapping
from typing import Any

import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from leakward.integrations.message_level import protect, read_defense, secret_tape
from leakward.integrations.nvflare.payload import (
    APPLIED,
    KINDS,
    SENT_MODEL,
    blocking,
    like,
    sent_model,
    tensors,
    weights_of,
)
from leakward.types import Tensors


class SentModelFilter(Filter):
    """Keep the weights that came with a task for the filters of its result; they pass as they are."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Keep the weights of a task that has some."""
        try:
            dxo = from_shareable(shareable)
        except ValueError:  # a task without a model
            return shareable
        if dxo.data_kind == DataKind.WEIGHTS:
            fl_ctx.set_prop(SENT_MODEL, tensors(dxo), private=True, sticky=False)
        return shareable


class DefenseFilter(DXOFilter):
    """Defend the weights that a client sends, or their change.

    Args:
        defense: Table of a defence, as in a plan, that acts on the message alone.
    """

    def __init__(self, defense: Mapping[str, Any]) -> None:
        super().__init__(supported_data_kinds=KINDS, data_kinds_to_filter=KINDS)
        self.defense = defense  # as it was given: FLARE writes a job's configuration from fields of this name
        self.applied = read_defense(defense)
        self.kept: Tensors = {}

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Defend a result; one that says that the task failed passes.

        Raises:
            ContentBlockedException: If there are no weights to defend, or they cannot be defended.
        """
        if shareable.get_return_code() != ReturnCode.OK:
            return shareable
        with blocking():
            weights_of(shareable)
            return super().process(shareable, fl_ctx)

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        """Return the defended weights, or change."""
        del shareable
        after = tensors(dxo)
        whole = dxo.data_kind == DataKind.WEIGHTS
        before = sent_model(fl_ctx) if whole else {name: torch.zeros_like(value) for name, value in after.items()}
        sent, self.kept = protect(self.applied, before, after, self.kept, secret_tape())
        applied = (*fl_ctx.get_prop(APPLIED, ()), self.applied)
        fl_ctx.set_prop(APPLIED, applied, private=True, sticky=False)
        return DXO(dxo.data_kind, like(sent, dxo.data), dxo.meta)
