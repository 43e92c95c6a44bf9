"""What was read of a FLARE job or of a FLARE site: chains of filters, and what the clients send through them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from leakward.linting.place import Place
from leakward.linting.python import Source
from leakward.linting.values import Made, word

Transfer = Literal["FULL", "DIFF"]
"""Whole weights, or their change: ``params_transfer_type`` of FLARE."""
FULL_UNLESS_TOLD = (
    "ClientAPIExecutor",
    "ScriptRunner",
    "FedAvgRecipe",
    "NumpyFedAvgRecipe",
    "FedProxRecipe",
    "ScaffoldRecipe",
    "CyclicRecipe",
    "FedAvgRecipeWithHE",
    "FedTaskRecipe",
)
ALWAYS_FULL = ("SklearnFedAvgRecipe", "KMeansFedAvgRecipe", "SVMFedAvgRecipe")
ALWAYS_DIFF = ("FedCERecipe",)
DIFF_OF_TORCH = "FedOptRecipe"
"""Sends changes for PyTorch, and for TensorFlow what it is told."""


@dataclass(frozen=True)
class SetFilter:
    """A filter at a client.

    Args:
        made: Its class and arguments.
        tasks: Tasks that it is set for; None for all, or if they cannot be read.
        disabled: Whether the file says so.
    """

    made: Made
    tasks: frozenset[str] | None
    disabled: bool = False


@dataclass(frozen=True)
class Chain:
    """The filters of a client's results, in the order in which they run.

    Args:
        name: Of the app of a job, or of the scope of a site.
        place: Where it stands.
        results: Filters of what leaves.
        others: Filters of what comes in.
        transfer: What the clients send; None if it cannot be told.
        tasks: Tasks that the clients run; None if it cannot be told.
    """

    name: str
    place: Place
    results: tuple[SetFilter, ...]
    others: tuple[SetFilter, ...]
    transfer: Transfer | None
    tasks: frozenset[str] | None


@dataclass(frozen=True)
class FlareJob:
    """What was read of a job.

    Args:
        sources: Its Python files.
        chains: One for each app of clients.
    """

    sources: tuple[Source, ...]
    chains: tuple[Chain, ...]

    def calls(self) -> Iterator[Made]:
        """Return all calls in its files, and all components that its configuration makes."""
        return _calls(self.sources, self.chains)


@dataclass(frozen=True)
class FlareSite:
    """What was read of the ``local`` folder of a site.

    Args:
        sources: Python files of ``local/custom``.
        place: Of ``privacy.json``, or of where it would be.
        chains: One for each scope; None without a ``privacy.json``.
        default: Scope of jobs that name none.
    """

    sources: tuple[Source, ...]
    place: Place
    chains: tuple[Chain, ...] | None
    default: str | None

    def calls(self) -> Iterator[Made]:
        """Return all calls in its files, and all components that its configuration makes."""
        return _calls(self.sources, self.chains or ())


def transfer_of(runs: Iterable[Made], sources: Iterable[Source]) -> Transfer | None:
    """Return what clients send, by what runs at them; None if that cannot be told, or differs.

    Args:
        runs: Recipes, executors and runners of scripts.
        sources: Scripts, which may say for themselves that they send changes.
    """
    names = (name for source in sources for name in source.attributes)
    if any(name.startswith("nvflare.") and name.endswith(".ParamsType.DIFF") for name in names):
        return "DIFF"
    found: set[Transfer | None] = {_transfer(made) for made in runs}
    return found.pop() if len(found) == 1 else None


def _transfer(made: Made) -> Transfer | None:
    if made.of("nvflare", *ALWAYS_FULL):
        return "FULL"
    if made.of("nvflare", *ALWAYS_DIFF) or made.of("nvflare.app_opt.pt", DIFF_OF_TORCH):
        return "DIFF"
    if not made.of("nvflare", *FULL_UNLESS_TOLD, DIFF_OF_TORCH) or "per_site_config" in made.keywords:
        return None
    said = word(made.setting("params_transfer_type", default="FULL"))
    if said == "FULL":
        return "FULL"
    return "DIFF" if said == "DIFF" else None


def _calls(sources: Iterable[Source], chains: Iterable[Chain]) -> Iterator[Made]:
    yield from (made for source in sources for made in source.calls)
    yield from (each.made for chain in chains for each in chain.results + chain.others)
