"""FLARE's filters for changes of weights, and the noise of one of them."""

from collections.abc import Iterator

from leakward.linting.finding import Found, Level, Rule, Subject
from leakward.linting.flare import Chain, FlareSite
from leakward.linting.rules.filters import FULL, PERCENTILE, SVT, acted_on, blocks, chains, filters
from leakward.linting.values import number

BUDGETS = (("fraction", 0), ("noise_var", 2))
STOCK = 0.1
"""FLARE's default of both."""


def check_whole(subject: Subject) -> Iterator[Found]:
    """Find filters for changes that get whole weights."""
    for chain in chains(subject):
        if chain.transfer == "DIFF" or blocks(chain, FULL):
            continue
        level, sent = _sent(chain, isinstance(subject, FlareSite))
        for name in (PERCENTILE, SVT):
            for each in filters(chain, name):
                if FULL in acted_on(each, name):
                    yield Found(level, each.made.place, f"{name}, and {sent}")


def check_release(subject: Subject) -> Iterator[Found]:
    """Find noise that is not of the budget that is set."""
    for chain in chains(subject):
        for each in filters(chain, SVT):
            if each.made.setting("epsilon_release", 9, default=None) is not None:
                continue
            fraction, variance = (number(each.made.setting(name, at, default=STOCK)) for name, at in BUDGETS)
            words = f"{SVT} without epsilon_release"
            if fraction is not None and variance is not None and 0 < fraction <= 1 and variance > 0:
                words += f": a million weights spend {1e6 * fraction * variance:g} in each round"
            yield Found("problem", each.made.place, words)


def _sent(chain: Chain, site: bool) -> tuple[Level, str]:
    if chain.transfer == "FULL":
        return "problem", "clients send whole weights"
    if site:
        return "problem", "jobs send whole weights unless told otherwise"
    return "remark", "what the clients send cannot be seen"


WHOLE_WEIGHTS = Rule(
    "filter-on-whole-weights",
    "PercentilePrivacy and SVTPrivacy are made for changes of weights, and take whole weights as if they were some. "
    "Then they cut every weight to gamma, 0.01 or less unless told otherwise, and the model is lost. FLARE's recipes "
    "send whole weights by default.",
    "Let clients send changes, params_transfer_type=DIFF. A site adds a DXOBlocker of WEIGHTS, so that no job sends "
    "whole ones.",
    check_whole,
)
SVT_RELEASE = Rule(
    "svt-release-budget",
    "The epsilon of SVTPrivacy pays for the choice of weights alone. Without epsilon_release their values cost "
    "noise_var times the number of weights sent, in every round: tens of thousands for a usual network.",
    "Set epsilon_release, and audit what is left of the update; or take another defence, such as Leakward's "
    "DefenseFilter.",
    check_release,
)
