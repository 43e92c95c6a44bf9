"""Reading Python scripts that make FLARE jobs by recipes or by the Job API."""

from collections.abc import Iterator

from leakward.linting.flare import (
    ALWAYS_DIFF,
    ALWAYS_FULL,
    DIFF_OF_TORCH,
    FULL_UNLESS_TOLD,
    Chain,
    SetFilter,
    transfer_of,
)
from leakward.linting.python import Source
from leakward.linting.values import Made, last, word, words

RESULTS_BY, OTHERS_BY = "add_client_output_filter", "add_client_input_filter"
"""Methods of recipes."""
KINDS = {"TASK_RESULT": True, "TASK_DATA": False}
"""``filter_type`` of the Job API, and whether it is of results."""
ALL = "*"
"""The tasks of a filter that the Job API is given without any."""
RUNS = (*FULL_UNLESS_TOLD, *ALWAYS_FULL, *ALWAYS_DIFF, DIFF_OF_TORCH)


def read_scripts(sources: tuple[Source, ...]) -> tuple[Chain, ...]:
    """Return one chain for each file that makes a job."""
    return tuple(chain for source in sources if (chain := _script(source, sources)) is not None)


def _script(source: Source, sources: tuple[Source, ...]) -> Chain | None:
    jobs = [made for made in source.calls if made.name.startswith("nvflare.") and _is_job(last(made.name))]
    if not jobs:
        return None
    found = list(_filters(source))
    results, others = (tuple(each for kind, each in found if kind is wanted) for wanted in (True, False))
    runs = [made for made in source.calls if made.of("nvflare", *RUNS)]
    return Chain(source.path.stem, jobs[0].place, results, others, transfer_of(runs, sources), None)


def _is_job(name: str) -> bool:
    return name.endswith(("Recipe", "RecipeWithHE", "Job")) and name[0].isupper()


def _filters(source: Source) -> Iterator[tuple[bool, SetFilter]]:
    """Return the filters that a script sets at clients, and whether they are of results."""
    for call in source.calls:
        method = last(call.name)
        if method in (RESULTS_BY, OTHERS_BY):
            made = call.setting("filter", 0)
            if isinstance(made, Made):
                yield method == RESULTS_BY, SetFilter(made, words(call.setting("tasks", 1)))
        elif method in ("to", "to_clients"):
            yield from _added(call, method)


def _added(call: Made, method: str) -> Iterator[tuple[bool, SetFilter]]:
    """Return the filter that ``job.to`` or ``job.to_clients`` adds, if it is one at a client."""
    made, kind = call.setting("obj", 0), word(call.setting("filter_type"))
    to_server = method == "to" and word(call.setting("target", 1)) in ("server", "SERVER_SITE_NAME")
    if isinstance(made, Made) and kind in KINDS and not to_server:
        yield KINDS[kind], SetFilter(made, words(call.setting("tasks", default=[ALL])))
