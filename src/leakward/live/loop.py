"""Leakward around a training step of a team's own, without an engine.

    with watched(site, model, batch):
        train(model)
    send(model.state_dict())

What comes after the block is reached only if the update may leave.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from opacus import PrivacyEngine
from torch import nn

from leakward.federated import Defense, NoDefense
from leakward.live.ledger import Steps
from leakward.live.private import PrivateBatch
from leakward.live.site import LiveSite
from leakward.types import Tensors


@contextmanager
def watched(
    site: LiveSite,
    model: nn.Module,
    batch: PrivateBatch,
    defense: Defense | None = None,
    engine: PrivacyEngine | None = None,
    number: int = 0,
) -> Generator[None]:
    """Record, judge and enter what the block makes of ``model``.

    Args:
        site: Whose ledger it is.
        model: With the weights that the server sent; under Opacus made private with ``wrap_model=False``, so that its
            weights keep their names.
        batch: That the block trains on.
        defense: That the block applies, if any.
        engine: Of Opacus, if it trains: its accountant first gets what the ledger has of earlier rounds, so that its
            epsilon is that of all of them.
        number: Of the round, for the ledger.

    Raises:
        WithheldError: If the update must not leave; the weights are then those from before the block.
    """
    before = _copied(model)
    earlier = _resumed(site, engine)
    site.keep(batch)
    yield
    steps = () if engine is None else _since(earlier, _history(engine))
    try:
        site.release(before, _copied(model), NoDefense() if defense is None else defense, number, steps)
    except BaseException:
        model.load_state_dict(before)
        raise


def _copied(model: nn.Module) -> Tensors:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _resumed(site: LiveSite, engine: PrivacyEngine | None) -> list[Steps]:
    """Return the steps before this round, once the accountant knows all of them."""
    if engine is None:
        return []
    accountant: Any = engine.accountant
    if not accountant.history:
        accountant.history = [step for entry in site.ledger.entries(site.client) for step in entry.steps]
    return _history(engine)


def _history(engine: PrivacyEngine) -> list[Steps]:
    accountant: Any = engine.accountant
    return [(float(noise), float(rate), int(count)) for noise, rate, count in accountant.history]


def _since(earlier: list[Steps], now: list[Steps]) -> tuple[Steps, ...]:
    """Return what was added; an accountant adds to its last line while noise and rate stay."""
    if earlier and len(now) >= len(earlier):
        noise, rate, count = now[len(earlier) - 1]
        more = count - earlier[-1][2]
        return (*([(noise, rate, more)] if more else []), *now[len(earlier) :])
    return tuple(now)
