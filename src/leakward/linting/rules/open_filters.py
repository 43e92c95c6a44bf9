"""Filters of a job or a site that let through what they cannot filter."""

import ast
from collections.abc import Iterator

from leakward.linting.finding import Found, Rule, Subject
from leakward.linting.flare import FlareJob, FlareSite
from leakward.linting.flower import FlowerApp
from leakward.linting.python import Source
from leakward.linting.sources import FUNCTIONS, Function
from leakward.linting.values import last

OF_DXO, OF_SHAREABLE = "process_dxo", "process"
"""Methods of FLARE's filters; None from the first means unfiltered, from the second it is an error."""


def check(subject: Subject) -> Iterator[Found]:
    """Find ways through a filter."""
    if isinstance(subject, FlowerApp):
        return
    incoming = _only_incoming(subject)
    for source in subject.sources:
        for kind in source.all(ast.ClassDef):
            known = any((source.name(base) or "").startswith("nvflare.") for base in kind.bases)
            if not known or kind.name in incoming:
                continue
            for method in kind.body:
                if isinstance(method, FUNCTIONS) and method.name in (OF_DXO, OF_SHAREABLE):
                    yield from _ways(source, f"{kind.name}.{method.name}", method)


def _only_incoming(subject: FlareJob | FlareSite) -> set[str]:
    """Return the names of the classes that filter what comes, and nothing that leaves."""
    chains = subject.chains or ()
    coming, leaving = (
        {last(each.made.name) for chain in chains for each in (chain.results if out else chain.others)}
        for out in (False, True)
    )
    return coming - leaving


def _ways(source: Source, name: str, method: Function) -> Iterator[Found]:
    nodes = list(_inside(method))
    returns = [node for node in nodes if isinstance(node, ast.Return)]
    if method.name == OF_DXO and not all(_is_none(node.value) for node in returns):  # else it checks, or works in place
        for node in returns:
            if _may_be_none(node.value):
                yield Found("problem", source.place(node), f"{name} returns None")
        if not _ends(method.body):
            yield Found("problem", source.place(method), f"{name} can end without a return, which returns None")
    given = method.args.args[1].arg if len(method.args.args) > 1 else ""
    for handler in (node for node in nodes if isinstance(node, ast.ExceptHandler)):
        for node in _inside(handler):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Name) and node.value.id == given:
                yield Found("problem", source.place(node), f"{name} returns what it was given after an error")


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Return what is in a function or a block, without functions in it."""
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        below = waiting.pop()
        yield below
        if not isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(below)


def _may_be_none(value: ast.expr | None) -> bool:
    if isinstance(value, ast.IfExp):
        return _may_be_none(value.body) or _may_be_none(value.orelse)
    return _is_none(value)


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _ends(body: list[ast.stmt]) -> bool:
    """Return whether a block never goes on to what follows it."""
    end = body[-1]
    if isinstance(end, ast.Return | ast.Raise):
        return True
    if isinstance(end, ast.If):
        return bool(end.orelse) and _ends(end.body) and _ends(end.orelse)
    if isinstance(end, ast.With):
        return _ends(end.body)
    if isinstance(end, ast.Try):
        after = end.orelse or end.body
        whole = _ends(after) and all(_ends(handler.body) for handler in end.handlers)
        return whole or (bool(end.finalbody) and _ends(end.finalbody))
    if isinstance(end, ast.While):
        endless = isinstance(end.test, ast.Constant) and bool(end.test.value)
        return endless and not any(isinstance(node, ast.Break) for node in _inside(end))
    return isinstance(end, ast.Match) and _is_whole(end.cases[-1]) and all(_ends(case.body) for case in end.cases)


def _is_whole(case: ast.match_case) -> bool:
    """Return whether a case takes whatever is left."""
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


OPEN_FILTER = Rule(
    "filter-fails-open",
    "A filter of FLARE that returns None has not filtered, and FLARE sends what it was given; so it does with what a "
    "filter hands back untouched after an error.",
    "Raise ContentBlockedException of nvflare.apis.filter wherever nothing can be filtered: the client then reports an "
    "error, and nothing leaves.",
    check,
)
