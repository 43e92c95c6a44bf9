"""Checks of the fields of settings, all problems in one sentence."""

import math

from leakward.errors import PlanError, brief

Rule = tuple[str, object, str, bool]
"""Field, value, what was expected, and whether it was met."""


def check(owner: object, *rules: Rule) -> None:
    """Raise ``PlanError`` with every rule that is not met, under the name of the class of ``owner``."""
    problems = [f"{name}={brief(value)}: expected {expected}" for name, value, expected, met in rules if not met]
    if problems:
        raise PlanError(f"{type(owner).__name__}: {'; '.join(problems)}")


def finite(name: str, value: float) -> Rule:
    """Expect a finite number."""
    return name, value, "a finite number", math.isfinite(value)


MOST = 2**31 - 1
"""Largest whole number in a setting, so that libraries can hold it."""


def whole(name: str, value: object, least: int = 1, most: int = MOST) -> Rule:
    """Expect a whole number from ``least`` to ``most``."""
    if isinstance(value, int) and value > most:
        return name, value, f"a whole number of at most {most}", False
    met = isinstance(value, int) and not isinstance(value, bool) and value >= least
    return name, value, f"a whole number of at least {least}", met


def positive(name: str, value: float) -> Rule:
    """Expect a finite number above 0."""
    return name, value, "a finite number above 0", 0 < value < math.inf


def not_negative(name: str, value: float) -> Rule:
    """Expect a finite number of at least 0."""
    return name, value, "a finite number of at least 0", 0 <= value < math.inf


def one_of(name: str, value: str, words: tuple[str, ...]) -> Rule:
    """Expect one of ``words``."""
    return name, value, f"one of {', '.join(words)}", value in words
