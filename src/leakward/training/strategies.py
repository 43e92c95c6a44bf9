"""Strategies of Flower by name, set up so that the choice of clients is ours and can be repeated."""

import inspect
from importlib import import_module
from typing import Any

from flwr.serverapp import strategy as flower

from leakward.errors import PlanError
from leakward.training.settings import FederationSettings

OURS: dict[str, float | int] = {
    "fraction_train": 1.0,
    "fraction_evaluate": 0.0,
    "min_train_nodes": 1,
    "min_evaluate_nodes": 0,
    "min_available_nodes": 1,
}
"""What ``Exchange`` takes over: it shows the strategy the clients of the round, and the server tests by itself."""


def make_strategy(federation: FederationSettings) -> flower.Strategy:
    """Return the strategy that ``federation`` names.

    Raises:
        PlanError: If there is none of this name, or it does not take these settings.
    """
    name, settings = federation.strategy, dict(federation.settings)
    kind = _find(name)
    taken = sorted(OURS.keys() & settings.keys())
    if taken:
        raise PlanError(f"[federation] settings: expected none of {', '.join(taken)}; use [federation] fraction")
    accepted = inspect.signature(kind).parameters
    try:
        return kind(**{key: value for key, value in OURS.items() if key in accepted}, **settings)
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"[federation] strategy {name!r} cannot be made with settings {settings}: {error}; "
            f"it takes {', '.join(key for key in accepted if key not in OURS)}"
        ) from error


def _find(name: str) -> type[Any]:
    module, separator, attribute = name.partition(":")
    try:
        found: Any = getattr(import_module(module), attribute) if separator else getattr(flower, name, None)
    except (ImportError, AttributeError) as error:
        raise PlanError(
            f"[federation] strategy {name!r}: expected package.module:Class on the Python path, got: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, flower.Strategy)) or inspect.isabstract(found):
        raise PlanError(
            f"[federation] strategy {name!r}: expected a strategy of Flower such as FedAvg, FedAdam or Krum, "
            "or package.module:Class"
        )
    return found
