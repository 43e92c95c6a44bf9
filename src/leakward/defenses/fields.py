"""Checks of the fields of a defence, all problems in one sentence."""

import math

from leakward.errors import DefenseError

Rule = tuple[str, object, str, bool]
"""Field, value, what was expected, and whether it was met."""


def check(owner: str, *rules: Rule) -> None:
    """Raise ``DefenseError`` with every rule that is not met."""
    problems = [f"expected {name} to be {expected}, got {value!r}" for name, value, expected, met in rules if not met]
    if problems:
        raise DefenseError(
            f"{owner}: {'; '.join(problems)}; correct {'it' if len(problems) == 1 else 'them'} in the plan"
        )


def not_negative(name: str, value: float) -> Rule:
    """Expect a finite number of at least 0."""
    return name, value, "a finite number of at least 0", 0 <= value < math.inf


def positive(name: str, value: float) -> Rule:
    """Expect a finite number above 0."""
    return name, value, "a finite number above 0", 0 < value < math.inf


def finite(name: str, value: float) -> Rule:
    """Expect a finite number."""
    return name, value, "a finite number", math.isfinite(value)


def whole(name: str, value: int, least: int = 1) -> Rule:
    """Expect a whole number of at least ``least``."""
    return name, value, f"a whole number of at least {least}", float(value).is_integer() and value >= least


def one_of(name: str, value: str, words: tuple[str, ...]) -> Rule:
    """Expect one of ``words``."""
    return name, value, f"one of {', '.join(words)}", value in words
