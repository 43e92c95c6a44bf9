"""What tasks and their results carry, as tensors, and how filters block it."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from leakward.errors import LeakwardError, WithheldError
from leakward.types import Tensors

LOG = logging.getLogger("leakward")
KINDS: list[str] = [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF]
BLOCKED = "leakward: the site sends nothing; its log says why"
SENT_MODEL = "leakward.sent_model"
"""Where the context of a task holds the weights that the server sent."""
BEGUN = "leakward.begun"
"""Where it says that ``ModelCheckFilter`` began the round, so that nothing lies there of another."""
APPLIED = "leakward.applied"
"""Where it holds the defences that were applied to the result."""


@contextmanager
def blocking() -> Generator[None]:
    """Turn whatever goes wrong into FLARE's word for it.

    FLARE enters that as an error, and lets the server read a site's errors unless told otherwise. So the reason goes to
    the site's log as a warning, which stays.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, WithheldError):  # its reason is in the log; words of others may hold anything
            LOG.warning("leakward: %s", error if isinstance(error, LeakwardError) else type(error).__name__)
        raise ContentBlockedException(BLOCKED) from None


def weights_of(result: Shareable) -> DXO:
    """Return the weights of a result, or their change.

    Raises:
        LeakwardError: If it is something else.
    """
    try:
        found = from_shareable(result)
    except ValueError:
        found = None
    if found is None or found.data_kind not in KINDS:
        kind = "none that FLARE knows" if found is None else found.data_kind
        raise LeakwardError(f"expected weights or their change, got {kind}; give the filter the tasks that train alone")
    return found


def sent_model(fl_ctx: FLContext) -> Tensors:
    """Return the weights that came with the task.

    Raises:
        LeakwardError: If ``SentModelFilter`` kept none.
    """
    found = fl_ctx.get_prop(SENT_MODEL)
    if found is None:
        raise LeakwardError(
            "expected the weights that the server sent, got none; add SentModelFilter to task_data_filters"
        )
    return found


def tensors(dxo: DXO) -> Tensors:
    """Return copies of the arrays of ``dxo``, NumPy's or PyTorch's."""
    return {name: torch.as_tensor(value).clone() for name, value in dxo.data.items()}


def like(made: Tensors, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors in the form in which ``data`` has them."""
    return {name: value if torch.is_tensor(data[name]) else value.numpy() for name, value in made.items()}
