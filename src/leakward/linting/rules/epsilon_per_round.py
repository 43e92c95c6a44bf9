"""Accounts of privacy that begin anew in every round."""

import ast
from collections.abc import Iterable, Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flare import FlareJob
from leakward.linting.flower import FlowerApp
from leakward.linting.python import Source
from leakward.linting.rules.parts import FIXED, LOCAL_DP
from leakward.linting.rules.rounds import rounds_of_flare, rounds_of_flower
from leakward.linting.sources import Code, reached
from leakward.linting.values import is_of, last, number

ENGINE = "PrivacyEngine"
RESTORES, HISTORY = ("accountant.load_state_dict", "load_checkpoint"), "history"
"""Methods, and the field of an accountant, by which an engine goes on with the account of earlier rounds."""
OURS = ("counted", "watched")
"""Of ``leakward.live``, which do that."""
ROUNDS = "num-server-rounds"
"""The setting of Flower's templates."""


def check(subject: Subject) -> Iterator[Found]:
    """Find engines that are made in every round, and noise that nobody adds up."""
    if isinstance(subject, FlowerApp):
        yield from _engines(subject.sources, rounds_of_flower(subject))
        yield from _not_composed(subject)
    elif isinstance(subject, FlareJob):
        yield from _engines(subject.sources, rounds_of_flare(subject.sources))


def _engines(sources: tuple[Source, ...], rounds: Iterable[Code]) -> Iterator[Found]:
    if any(map(_restores, sources)):
        return
    for source, node in reached(sources, rounds):
        for call in ast.walk(node):
            name = source.name(call.func) if isinstance(call, ast.Call) else None
            if name is not None and is_of(name, "opacus", ENGINE):
                yield Found("problem", source.place(call), f"{ENGINE} of Opacus is made anew in every round")


def _restores(source: Source) -> bool:
    """Return whether a file gives an engine the account of earlier rounds."""
    called = any(made.name.endswith(RESTORES) or made.of("leakward", *OURS) for made in source.calls)
    return called or any(node.attr == HISTORY and isinstance(node.ctx, ast.Store) for node in source.all(ast.Attribute))


def _not_composed(app: FlowerApp) -> Iterator[Found]:
    rounds = number(app.settings.get(ROUNDS))
    for made in app.calls():
        if made.of("flwr", LOCAL_DP):
            epsilon = number(made.setting("epsilon", 2))
            words = f"the epsilon of {LOCAL_DP} is of one message"
            if epsilon is not None and rounds is not None:
                words += f": {epsilon:g}, and up to {rounds * epsilon:g} after {rounds:g} rounds"
            yield Found("remark", made.place, words)
        elif made.of("flwr.serverapp", *FIXED) and made.setting("accountant", default=None) is None:
            yield Found("remark", made.place, f"{last(made.name)} without an accountant")


EPSILON_PER_ROUND = Rule(
    "epsilon-per-round",
    "What each round reveals adds up. An account that begins anew in every round, or that nobody keeps, says how much "
    "one round reveals, which can be a small part.",
    "Keep one account for all rounds: in Flower, put engine.accountant.state_dict() into context.state and load it in "
    "the next round; in FLARE, make the engine before the loop; or train within counted of leakward.live. Give a "
    "fixed-clipping strategy its accountant. Of LocalDpMod, state the number of rounds times epsilon.",
    check,
)
