"""Tables of pages that are kept in a repository."""

from collections.abc import Mapping, Sequence

from leakward.metrics import Summary

Estimate = Summary | Mapping[str, float | None]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)])


def interval(estimate: Estimate | None, form: str) -> str:
    """Return a mean with its interval, each written by ``form``; ``none`` where nothing was measured."""
    if estimate is None:
        return "none"
    values = estimate if isinstance(estimate, Mapping) else vars(estimate)
    mean, low, high = (values[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "none"
    if low is None or high is None:
        return form.format(mean)
    return f"{form.format(mean)} ({form.format(low)} to {form.format(high)})"
