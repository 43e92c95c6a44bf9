"""FLARE's filters that are set, and let everything through."""

from collections.abc import Iterator
from typing import Any

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flare import Chain, FlareJob, FlareSite, SetFilter
from leakward.linting.rules import filters as of
from leakward.linting.values import UNKNOWN, Made, last, number, words

ALL = frozenset({"*"})


def check_idle(subject: Subject) -> Iterator[Found]:
    """Find filters that return None for what they get."""
    for chain in of.chains(subject):
        for each in chain.results:
            for why in _whys(each, chain, isinstance(subject, FlareSite)):
                yield Found("problem", each.made.place, f"{last(each.made.name)} {why}")


def check_never(subject: Subject) -> Iterator[Found]:
    """Find filters for tasks that no client runs."""
    for chain in of.chains(subject) if isinstance(subject, FlareJob) else ():
        runs = chain.tasks if chain.tasks and not any("*" in task for task in chain.tasks) else None
        for each in chain.results + chain.others:
            if each.tasks and (each.tasks == ALL or (runs and not each.tasks & runs)):
                tasks = ", ".join(repr(task) for task in sorted(each.tasks))
                yield Found("problem", each.made.place, f"{last(each.made.name)} is set for the tasks {tasks}")


def _whys(each: SetFilter, chain: Chain, site: bool) -> Iterator[str]:
    """Return why a filter lets through what it gets; nothing if it may not."""
    name, made = last(each.made.name), each.made
    if site and each.disabled:
        yield "is disabled"
    elif made.of("nvflare", of.CONVERT):
        yield "has no weights to compare with at a client"
    elif made.of("nvflare", of.EXCLUDE) and _names_none(made.setting("exclude_vars", 0, default=None)):
        yield "is given no names of layers"
    elif made.of("nvflare", of.PERCENTILE):
        yield from _out_of_range(made)
    if made.of("nvflare", *of.KINDS_AT):
        missed = sorted(_sent(chain, site) - of.acted_on(each, name))
        yield from (f"lets {kind} pass, by its data_kinds" for kind in missed if not of.blocks(chain, kind))


def _names_none(given: Any) -> bool:
    """Return whether FLARE can make no names of what ``ExcludeVars`` is given, which may be a list or a pattern."""
    if isinstance(given, list):
        return UNKNOWN not in given and not words(given)
    return given is not UNKNOWN and (not isinstance(given, str) or not given)


def _out_of_range(made: Made) -> Iterator[str]:
    percentile, gamma = number(made.setting("percentile", 0)), number(made.setting("gamma", 1))
    if gamma is not None and gamma <= 0:
        yield f"has gamma = {gamma:g}"
    if percentile is not None and (percentile < 0 or percentile > 100):
        yield f"has percentile = {percentile:g}"


def _sent(chain: Chain, site: bool) -> frozenset[str]:
    """Return the kinds of weights that may come through a chain, as far as it can be told."""
    if chain.transfer is not None:
        return frozenset({of.FULL if chain.transfer == "FULL" else of.DIFF})
    return of.BOTH if site else frozenset()


IDLE_FILTER = Rule(
    "filter-does-nothing",
    "A filter of FLARE that returns None has not filtered, and FLARE sends what it was given. Its own filters do that, "
    "and write no more than a line of debugging, for settings that they cannot use and kinds of data that are not "
    "theirs; ConvertWeights does it for every result of a client in 2.9, where the task's data are gone by then.",
    "Correct the setting: gamma above 0, percentile from 0 to 100, names of layers, data_kinds of all that is sent, or "
    "a DXOBlocker of the rest. In the place of ConvertWeights set params_transfer_type=DIFF.",
    check_idle,
)
NEVER_RUNS = Rule(
    "filter-never-runs",
    "FLARE 2.9 looks filters of a job up by the exact name of the task. '*', which the Job API sets if it is given no "
    "tasks, is a pattern for executors alone: no task has that name, and what is sent passes no filter.",
    'Name the tasks: tasks=["train"].',
    check_never,
)
