"""Leakward around a training step of a team's own, without an engine.

    with watched(site, model, batch):
        train(model)
    send(model.state_dict())

What comes after the block is reached only if the update may leave.
"""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext

from opacus import PrivacyEngine
from torch import nn

from leakward.federated import Defense, NoDefense
from leakward.live.private import PrivateBatch
from leakward.live.site import LiveSite
from leakward.live.steps import counted
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
        engine: Of Opacus, if it trains; its steps are ``counted``.
        number: Of the round, for the ledger.

    Raises:
        WithheldError: If the update must not leave. Whatever is raised, the weights are then those from before.
    """
    before = _copied(model)
    site.start()
    site.keep(batch)
    try:
        with nullcontext() if engine is None else counted(site, engine):
            yield
        site.release(before, _copied(model), NoDefense() if defense is None else defense, number)
    except BaseException:
        model.load_state_dict(before)
        raise


def _copied(model: nn.Module) -> Tensors:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
