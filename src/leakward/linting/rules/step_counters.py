"""Flower's clipping, and the step counters of BatchNorm."""

import ast
from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flower import FlowerApp
from leakward.linting.python import Source
from leakward.linting.rules.batch_norm import batch_norms, network_seen
from leakward.linting.rules.parts import clipping_places

COUNTER = "num_batches_tracked"
TYPE_TESTS = ("is_floating_point", "issubdtype")
"""What an app calls that leaves whole numbers out of its messages."""
REPLACES = "ModuleValidator.fix"
"""What puts GroupNorm in the place of BatchNorm."""


def check(subject: Subject) -> Iterator[Found]:
    """Find clipping by a norm that counts steps."""
    if not isinstance(subject, FlowerApp) or any(made.name.endswith(REPLACES) for made in subject.calls()):
        return
    norms, seen = batch_norms(subject.sources), network_seen(subject.sources)
    sent = any(map(_takes_states, subject.sources)) and not any(map(_leaves_out, subject.sources))
    for part, place in clipping_places(subject):
        if norms and sent:
            yield Found("problem", place, f"{part} clips a model with {norms}")
        elif norms:
            yield Found("remark", place, f"{part} clips a model with {norms}; whether counters are sent cannot be seen")
        elif not seen:
            yield Found("remark", place, f"{part} clips a model that cannot be seen here; look for BatchNorm in it")


def _takes_states(source: Source) -> bool:
    return any(node.attr == "state_dict" for node in source.all(ast.Attribute))


def _leaves_out(source: Source) -> bool:
    """Return whether a file looks as if it left counters out of what it sends."""
    return (
        any(isinstance(node.value, str) and COUNTER in node.value for node in source.all(ast.Constant))
        or any(node.attr in TYPE_TESTS for node in source.all(ast.Attribute))
        or any(node.ifs and _is_of_state(node.iter) for node in source.all(ast.comprehension))
    )


def _is_of_state(node: ast.expr) -> bool:
    return any(isinstance(below, ast.Attribute) and below.attr == "state_dict" for below in ast.walk(node))


STEP_COUNTERS = Rule(
    "step-counters-in-norm",
    "Flower clips by the norm of all arrays in a message. BatchNorm counts its steps in some of them, so that an "
    "update inside the bound is cut to a hundredth and drowns in the noise; running variances get noise too, and can "
    "fall below zero.",
    "Train without these counters: GroupNorm in the place of BatchNorm, as ModuleValidator.fix of Opacus puts it, or "
    "track_running_stats=False; or leave whole numbers out of the messages of server and clients.",
    check,
)
