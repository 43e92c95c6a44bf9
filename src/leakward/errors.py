"""Errors a user can act on: what was expected, what came, what to do, in one sentence."""

LONGEST = 200
"""Characters of a value in a message."""


def brief(value: object) -> str:
    """Return a value that came, or the error of a library, as short as a message can hold it."""
    lines = str(value).splitlines() if isinstance(value, Exception) else [repr(value)]
    text = lines[0] if lines else type(value).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class LeakwardError(Exception):
    """Base of every error that Leakward raises on purpose; the command line prints it without a traceback."""


class DataError(LeakwardError):
    """A data set is missing, broken, or does not hold what the audit needs."""


class ModelError(LeakwardError):
    """A model cannot be built, or does not fit the images or the classes."""


class PlanError(LeakwardError):
    """A plan is wrong; the message lists every problem with its place and what is allowed."""


class DefenseError(LeakwardError):
    """A defence cannot be applied; nothing undefended is returned in its place."""


class DivergedError(LeakwardError):
    """Training gave numbers that are not finite."""


class CaptureError(LeakwardError):
    """A capture file is missing, broken, or its parts do not belong together."""


class WithheldError(LeakwardError):
    """An update must not leave the site."""


class UnknownNameError(LeakwardError):
    """A name is not in the registry."""
