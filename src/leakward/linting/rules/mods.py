"""Mods of Flower in the wrong place: in another order, around the wrong messages, or missing."""

from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flower import CLIENT_FN, FlowerApp, Mod
from leakward.linting.rules.parts import AUDITS, DP_MODS, FIXED, FIXED_MOD, OURS, SECURE_AGGREGATION, is_defence
from leakward.linting.values import is_of, last


def check_order(subject: Subject) -> Iterator[Found]:
    """Find mods that stand inside one that has to be further in."""
    for handler in subject.handlers if isinstance(subject, FlowerApp) else ():
        inner: Mod | None = None
        for mod in handler.mods or ():
            if _rank(mod) is None:
                continue
            if inner is not None and (_rank(mod) or 0) < (_rank(inner) or 0):
                yield Found("problem", mod.place, f"{last(mod.name)} stands after {last(inner.name)}")
            else:
                inner = mod


def check_app_wide(subject: Subject) -> Iterator[Found]:
    """Find mods for training that get messages of evaluation too."""
    for handler in subject.handlers if isinstance(subject, FlowerApp) else ():
        for mod in handler.mods or ():
            if handler.kind != "train" and is_of(mod.name, "flwr.clientapp", *DP_MODS):
                what = "all messages" if handler.kind == CLIENT_FN else f"messages of kind {handler.kind}"
                yield Found("problem", mod.place, f"{last(mod.name)} is set for {what}")


def check_clipping(subject: Subject) -> Iterator[Found]:
    """Find strategies that leave the clipping to clients, which do none."""
    if not isinstance(subject, FlowerApp) or not subject.handlers:
        return
    unread = any(handler.mods is None for handler in subject.handlers)
    if unread or any(is_of(mod.name, "flwr", FIXED_MOD) or not mod.name for mod in subject.mods()):
        return
    for made in subject.calls():
        if made.of("flwr", FIXED[1]):
            yield Found("problem", made.place, f"{FIXED[1]}, and no {FIXED_MOD} at the clients")


def _rank(mod: Mod) -> int | None:
    """Return how far inside a mod belongs; None of a mod whose place does not matter."""
    if is_of(mod.name, "flwr", *SECURE_AGGREGATION):
        return 0
    if is_of(mod.name, OURS, *AUDITS):
        return 1
    return 2 if is_defence(mod) else None


MOD_ORDER = Rule(
    "mod-order",
    "The first mod of a list is the outermost and sees the reply last; mods of the whole app stand around those of a "
    "function. A mod outside secure aggregation sees masked numbers, and what records or judges inside a defence sees "
    "what does not leave.",
    "List secagg_mod or secaggplus_mod first, then site_mod of Leakward, then defences.",
    check_order,
)
APP_WIDE = Rule(
    "mod-for-all-messages",
    "The mods of flwr.clientapp.mod do not look at the kind of a message. A reply to evaluation has no weights, and "
    "they turn it into an error.",
    "Set them for training alone: @app.train(mods=[...]).",
    check_app_wide,
)
NOBODY_CLIPS = Rule(
    "nobody-clips",
    "This strategy tells the clients the bound, adds noise for it, and checks nothing. Updates that no mod clips may "
    "have any size, for which the noise proves nothing.",
    "Set fixedclipping_mod at the clients, @app.train(mods=[fixedclipping_mod]), or clip at the server by "
    "DifferentialPrivacyServerSideFixedClipping.",
    check_clipping,
)
