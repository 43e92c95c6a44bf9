"""Filters of NVIDIA FLARE (2.9), called as the engine calls them.

A filter takes a ``DXO``: named arrays, and whether they are the client's whole weights or their change. It returns a
filtered one, or None for "not filtered", whereupon the engine sends the arrays as they were. Here None is an error.
"""

from typing import Any, Literal, get_args

import numpy as np

from leakward.defenses.engines.operator import Arrays
from leakward.errors import DefenseError
from leakward.fields import Rule, one_of

Transfer = Literal["full", "diff"]
"""What a client sends: its whole weights, which is what FLARE's recipes default to, or their change."""
MOST_LACKING = 10.0
"""Entries that lack so many scales of the noise pass once in 2 exp(10) = 44,000 times."""


def transfer_rule(transfer: str) -> Rule:
    """Return what to check of the field ``transfer``."""
    return one_of("transfer", transfer, get_args(Transfer))


def percentile(before: Arrays, after: Arrays, transfer: Transfer, steps: int, **settings: Any) -> Arrays:
    """Return what ``PercentilePrivacy`` makes of a client's result.

    Args:
        before: Weights and buffers that the server sent.
        after: The client's.
        transfer: Which form of them it is given.
        steps: That the client says it took; 0 for no word of them.
        settings: Of the filter.
    """
    from nvflare.app_common.filters import PercentilePrivacy

    return _filtered(PercentilePrivacy(**settings), before, after, transfer, steps)


def svt(before: Arrays, after: Arrays, transfer: Transfer, steps: int, **settings: Any) -> Arrays:
    """Return what ``SVTPrivacy`` makes of a client's result, as in ``percentile``.

    Raises:
        DefenseError: If too few entries can ever be accepted, for which the engine would search without end.
    """
    from nvflare.app_common.filters import SVTPrivacy

    _require_an_end(_given(before, after, transfer), steps, **settings)
    return _filtered(SVTPrivacy(**settings), before, after, transfer, steps)


def _given(before: Arrays, after: Arrays, transfer: Transfer) -> Arrays:
    return after if transfer == "full" else {name: after[name] - before[name] for name in after}


def _filtered(kind: Any, before: Arrays, after: Arrays, transfer: Transfer, steps: int) -> Arrays:
    from nvflare.apis.dxo import DXO, DataKind, MetaKey
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable

    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: steps} if steps else {}
    form = DataKind.WEIGHTS if transfer == "full" else DataKind.WEIGHT_DIFF
    found = kind.process_dxo(DXO(form, _given(before, after, transfer), meta), Shareable(), FLContext())
    if found is None:
        raise DefenseError(
            f"{type(kind).__name__}: expected filtered weights, got None, for which FLARE sends them unfiltered; "
            "correct the filter's settings"
        )
    return found.data


def _require_an_end(
    given: Arrays, steps: int, fraction: float, epsilon: float, gamma: float, tau: float, **_: Any
) -> None:
    """Refuse settings with which the filter waits for entries to pass its threshold that never will.

    It goes over the entries until ceil(fraction n) have passed, each time with new noise. Those at ``tau`` pass half of
    the time; others need noise as large as what they lack.
    """
    sizes = np.concatenate([np.abs(value).ravel() / max(steps, 1) for value in given.values()]).clip(max=gamma)
    wanted = int(np.ceil(fraction * len(sizes)))
    lacking = tau - np.sort(sizes)[-wanted]
    query = epsilon - epsilon / (1 + (2 * wanted) ** (2 / 3))
    noise = 2 * gamma * wanted / query
    if lacking > MOST_LACKING * noise:
        raise DefenseError(
            f"SVTPrivacy: expected {wanted} entries to come near tau = {tau}, got too few, for which FLARE would "
            "search without end; lower tau, fraction or epsilon"
        )
