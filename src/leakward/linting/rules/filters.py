"""FLARE's own filters at clients, and what they act on."""

from collections.abc import Iterator

from leakward.linting.finding import Subject
from leakward.linting.flare import Chain, FlareJob, FlareSite, SetFilter
from leakward.linting.values import words

FULL, DIFF = "WEIGHTS", "WEIGHT_DIFF"
"""What FLARE calls whole weights and their change."""
BOTH = frozenset({FULL, DIFF})
PERCENTILE, SVT, EXCLUDE = "PercentilePrivacy", "SVTPrivacy", "ExcludeVars"
CONVERT, BLOCKER = "ConvertWeights", "DXOBlocker"
KINDS_AT = {PERCENTILE: 2, SVT: 5, EXCLUDE: 1}
"""Filters of weights, and the position of their argument ``data_kinds``."""


def chains(subject: Subject) -> tuple[Chain, ...]:
    """Return the chains of filters of a job or a site."""
    return (subject.chains or ()) if isinstance(subject, FlareJob | FlareSite) else ()


def filters(chain: Chain, *names: str) -> Iterator[SetFilter]:
    """Return FLARE's filters of a chain that have one of these names and are not disabled."""
    return (each for each in chain.results if not each.disabled and each.made.of("nvflare", *names))


def acted_on(each: SetFilter, name: str) -> frozenset[str]:
    """Return the kinds of weights that a filter acts on, all that it can if that cannot be read."""
    said = words(each.made.setting("data_kinds", KINDS_AT[name], default=None))
    return said & BOTH if said else BOTH


def blocks(chain: Chain, kind: str) -> bool:
    """Return whether a chain lets nothing of a kind leave."""
    for each in filters(chain, BLOCKER):
        said = words(each.made.setting("data_kinds", 0))
        allows = each.made.setting("allow_data_kinds", 1, default=False)
        if said is not None and ((allows is True and kind not in said) or (allows is False and kind in said)):
            return True
    return False
