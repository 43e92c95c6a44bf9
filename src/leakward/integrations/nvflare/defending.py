"""Leakward at a client of NVIDIA FLARE (2.9): filters that defend the results of its tasks.

``DefenseFilter`` belongs among ``task_result_filters``. Where clients send whole weights, as FLARE's recipes do unless
told otherwise, ``SentModelFilter`` belongs among ``task_data_filters`` as well: it keeps the model that came, from
which the change is taken. Neither returns None, for which FLARE would send the weights as they were: what cannot be
defended is blocked. A site sets both for every job in its ``local/privacy.json``, a job for itself in its client's
configuration.
"""

from collections.abc import Mapping
from typing import Any

import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.filter import ContentBlockedException, Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from leakward.errors import LeakwardError
from leakward.integrations.message_level import protect, read_defense, secret_tape
from leakward.types import Tensors

KINDS: list[str] = [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF]
SENT_MODEL = "leakward.sent_model"
"""Where the context of a task holds the weights that the server sent."""


class SentModelFilter(Filter):
    """Keep the weights that came with a task for ``DefenseFilter``; they pass as they are."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Keep the weights of a task that has some."""
        try:
            dxo = from_shareable(shareable)
        except ValueError:  # a task without a model
            return shareable
        if dxo.data_kind == DataKind.WEIGHTS:
            fl_ctx.set_prop(SENT_MODEL, _tensors(dxo), private=True, sticky=False)
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
        try:
            kind = from_shareable(shareable).data_kind
        except ValueError:
            kind = "none that FLARE knows"
        if kind not in KINDS:
            raise ContentBlockedException(
                f"leakward: expected weights or their change, got {kind}; give the filter the tasks that train alone"
            )
        return super().process(shareable, fl_ctx)

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        """Return the defended weights, or change."""
        del shareable
        try:
            return self._defended(dxo, fl_ctx)
        except LeakwardError as error:
            raise ContentBlockedException(f"leakward: {error}") from error
        except Exception as error:  # its words may hold what must not be told
            raise ContentBlockedException(f"leakward: {type(error).__name__}; nothing is sent") from None

    def _defended(self, dxo: DXO, fl_ctx: FLContext) -> DXO:
        after = _tensors(dxo)
        if dxo.data_kind == DataKind.WEIGHT_DIFF:
            before = {name: torch.zeros_like(value) for name, value in after.items()}
        else:
            before = fl_ctx.get_prop(SENT_MODEL)
            if before is None:
                raise LeakwardError(
                    "expected the weights that the server sent, got none; add SentModelFilter to task_data_filters, or "
                    "let clients send the change of their weights"
                )
        sent, self.kept = protect(self.applied, before, after, self.kept, secret_tape())
        return DXO(dxo.data_kind, _like(sent, dxo.data), dxo.meta)


def _tensors(dxo: DXO) -> Tensors:
    """Return copies of the arrays of ``dxo``, NumPy's or PyTorch's."""
    return {name: torch.as_tensor(value).clone() for name, value in dxo.data.items()}


def _like(tensors: Tensors, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tensors`` in the form in which ``data`` has them."""
    return {name: value if torch.is_tensor(data[name]) else value.numpy() for name, value in tensors.items()}
