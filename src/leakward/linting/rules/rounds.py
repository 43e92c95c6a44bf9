"""What of an app runs in every round."""

import ast
from collections.abc import Iterator, Mapping

from leakward.linting.flower import CLIENT_FN, FlowerApp
from leakward.linting.python import Source
from leakward.linting.sources import FUNCTIONS, Code
from leakward.linting.values import is_of

FLOWER_CLIENTS = {"Client": "fit", "NumPyClient": "fit"}
EXECUTORS = {"Executor": "execute", "ModelLearner": "train"}
"""Classes, and their method that runs once a round."""
RUNNING, DECORATOR = "is_running", "train"
"""Of FLARE's client API: the test of its loop, and the decorator in its place."""


def rounds_of_flower(app: FlowerApp) -> Iterator[Code]:
    """Return the functions of an app that run once a round."""
    yield from ((each.source, each.function) for each in app.handlers if each.kind == "train" and each.function)
    if any(each.kind == CLIENT_FN for each in app.handlers):
        yield from (code for source in app.sources for code in _methods(source, "flwr", FLOWER_CLIENTS))


def rounds_of_flare(sources: tuple[Source, ...]) -> Iterator[Code]:
    """Return what runs once a round: functions, and steps of loops that are under no condition."""
    for source in sources:
        yield from _methods(source, "nvflare", EXECUTORS)
        for function in (node for kind in FUNCTIONS for node in source.all(kind)):
            if any(_is_decorator(source, each) for each in function.decorator_list):
                yield source, function
        for loop in source.all(ast.While):
            name = source.name(loop.test.func) if isinstance(loop.test, ast.Call) else None
            if name is not None and is_of(name, "nvflare", RUNNING):
                yield from ((source, step) for step in _steps(loop.body))


def _methods(source: Source, package: str, methods: Mapping[str, str]) -> Iterator[Code]:
    for kind in source.all(ast.ClassDef):
        names = [source.name(base) or "" for base in kind.bases]
        wanted = {method for base, method in methods.items() if any(is_of(name, package, base) for name in names)}
        yield from ((source, node) for node in kind.body if isinstance(node, FUNCTIONS) and node.name in wanted)


def _is_decorator(source: Source, node: ast.expr) -> bool:
    name = source.name(node.func if isinstance(node, ast.Call) else node)
    return name is not None and is_of(name, "nvflare.client", DECORATOR)


def _steps(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Return the statements of a block that run whenever it runs."""
    for node in body:
        if isinstance(node, ast.With | ast.For | ast.While | ast.Try):
            yield from _steps(node.body)
        elif not isinstance(node, ast.If | ast.Match | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
