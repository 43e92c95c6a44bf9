"""Settings of privacy parts that switch them off, or break them: zero, negative, infinite, or not a number."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flower import FlowerApp
from leakward.linting.rules.filters import PERCENTILE, SVT
from leakward.linting.rules.parts import ADAPTIVE, FIXED, LOCAL_DP
from leakward.linting.values import Made, last, number

REFUSED = "it is refused, and the app does not start"
FAILS = "every result ends in an error"
NO_NOISE = "no noise is drawn"
LOST = "every weight becomes NaN or infinite"
UNCLIPPED = "no update is clipped"
ENDLESS = "the filter never ends"
STOPS = "the training ends in an error"
NAN, INFINITE, ZERO, NEGATIVE, ONE = "nan", "infinite", "zero", "negative", "one or more"
PRIVATE = ("make_private",)
"""Of Opacus."""
WORDS = re.compile(r"epsilon|delta|sensitivity|noise_multiplier|clip\w*_norm|max_grad_norm|noise_scale|noise_std")
"""In the names of settings of an app that are likely to be of privacy."""
BELOW = {ZERO: REFUSED, NEGATIVE: REFUSED}


@dataclass(frozen=True)
class Setting:
    """A number that a part is given, and what comes of the kinds of numbers that are wrong there.

    Args:
        package: Where the parts are from; empty for methods, whose object cannot be told.
        parts: Names of classes or methods.
        name: Of the argument.
        position: Of the argument; None if it has to be named.
        wrong: What happens, by kind.
    """

    package: str
    parts: tuple[str, ...]
    name: str
    position: int | None
    wrong: Mapping[str, str]


SETTINGS = (
    Setting("flwr", (LOCAL_DP,), "clipping_norm", 0, {NAN: UNCLIPPED, INFINITE: UNCLIPPED, **BELOW}),
    Setting("flwr", (LOCAL_DP,), "sensitivity", 1, {NAN: LOST, INFINITE: LOST, ZERO: NO_NOISE, NEGATIVE: REFUSED}),
    Setting("flwr", (LOCAL_DP,), "epsilon", 2, {NAN: LOST, INFINITE: NO_NOISE, ZERO: LOST, NEGATIVE: REFUSED}),
    Setting("flwr", (LOCAL_DP,), "delta", 3, {NAN: LOST, ZERO: FAILS, NEGATIVE: REFUSED,
                                              ONE: "a guarantee that may always fail says nothing"}),
    Setting("flwr", FIXED, "noise_multiplier", 1, {NAN: LOST, INFINITE: LOST, ZERO: NO_NOISE, NEGATIVE: REFUSED}),
    Setting("flwr", FIXED, "clipping_norm", 2, {NAN: LOST, INFINITE: LOST, **BELOW}),
    Setting("flwr", ADAPTIVE, "noise_multiplier", 1, {NAN: NO_NOISE, INFINITE: REFUSED, ZERO: NO_NOISE,
                                                      NEGATIVE: REFUSED}),
    Setting("flwr", ADAPTIVE, "initial_clipping_norm", 3, {NAN: LOST, INFINITE: LOST, **BELOW}),
    Setting("nvflare", (PERCENTILE,), "percentile", 0, {NAN: FAILS}),
    Setting("nvflare", (PERCENTILE,), "gamma", 1, {NAN: LOST, INFINITE: "nothing is cut off at gamma"}),
    Setting("nvflare", (SVT,), "epsilon", 1, dict.fromkeys((NAN, INFINITE, ZERO, NEGATIVE), FAILS)),
    Setting("nvflare", (SVT,), "noise_var", 2, {NAN: LOST, INFINITE: NO_NOISE, ZERO: FAILS, NEGATIVE: FAILS}),
    Setting("nvflare", (SVT,), "gamma", 3, {NAN: ENDLESS, INFINITE: LOST, ZERO: ENDLESS, NEGATIVE: FAILS}),
    Setting("nvflare", (SVT,), "tau", 4, {NAN: ENDLESS, INFINITE: ENDLESS}),
    Setting("nvflare", (SVT,), "epsilon_release", 9, {NAN: LOST, INFINITE: NO_NOISE, ZERO: FAILS, NEGATIVE: FAILS}),
    Setting("", PRIVATE, "noise_multiplier", None, {NAN: STOPS, INFINITE: LOST, ZERO: NO_NOISE, NEGATIVE: STOPS}),
    Setting("", PRIVATE, "max_grad_norm", None, {NAN: STOPS, INFINITE: LOST, NEGATIVE: STOPS}),
)  # fmt: skip


def check(subject: Subject) -> Iterator[Found]:
    """Find numbers that no privacy part can work with."""
    for made in subject.calls():
        for setting in SETTINGS:
            if made.of(setting.package, *setting.parts) if setting.package else last(made.name) in setting.parts:
                value = number(made.setting(setting.name, setting.position))
                yield from _judged(made, setting, value)
    if isinstance(subject, FlowerApp):
        yield from _configured(subject)


def _judged(made: Made, setting: Setting, value: float | None) -> Iterator[Found]:
    for kind in _kinds(value):
        if kind in setting.wrong:
            words = f"{last(made.name)} with {setting.name} = {value:g}: {setting.wrong[kind]}"
            yield Found("problem", made.place, words)


def _configured(app: FlowerApp) -> Iterator[Found]:
    """Find such numbers among the settings of an app; whether zero switches a part off cannot be seen there."""
    for name, given in app.settings.items():
        value = number(given)
        if WORDS.search(name.replace("-", "_")) is None or value is None or 0 < value < math.inf:
            continue
        yield Found("remark" if value == 0 else "problem", app.setting_place(name), f"{name} = {value:g}")


def _kinds(value: float | None) -> list[str]:
    if value is None:
        return []
    if math.isnan(value):
        return [NAN]
    kinds = [(value == math.inf, INFINITE), (value == 0, ZERO), (value < 0, NEGATIVE), (value >= 1, ONE)]
    return [kind for holds, kind in kinds if holds]


UNSAFE_SETTINGS = Rule(
    "unsafe-setting",
    "Engines check little of what they are given: NaN passes every comparison, and zero or infinity switches a part "
    "off without a word.",
    "Give every privacy part a finite number above zero.",
    check,
)
