"""The Python files of an app or a job, and which of their functions run when another one does."""

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from leakward.linting.files import Folder, Unread
from leakward.linting.place import Place
from leakward.linting.python import Source, parse
from leakward.linting.values import last

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Code = tuple[Source, ast.AST]
"""A part of a file."""


def read_sources(folder: Folder) -> tuple[tuple[Source, ...], tuple[Unread, ...]]:
    """Return the Python files of a folder, and those that cannot be parsed."""
    found: list[Source] = []
    unread: list[Unread] = []
    for path, content in folder.files.items():
        if path.suffix != ".py":
            continue
        try:
            found.append(parse(content, path))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            unread.append(_unparsed(path, error))
    return tuple(found), tuple(unread)


def reached(sources: Iterable[Source], start: Iterable[Code]) -> Iterator[Code]:
    """Return ``start``, and every function of these files that it calls by name, or that those call, once each."""
    functions: dict[str, list[Code]] = {}
    for source in sources:
        for function in (node for kind in FUNCTIONS for node in source.all(kind)):
            functions.setdefault(function.name, []).append((source, function))
    waiting, seen = deque(start), set[ast.AST]()
    while waiting:
        source, node = waiting.popleft()
        if node in seen:
            continue
        seen.add(node)
        yield source, node
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and _is_own(source, call.func):
                waiting += functions.get(last(source.name(call.func) or ""), [])


def _is_own(source: Source, called: ast.expr) -> bool:
    """Return whether a call may be one of a function of these files: by name, of ``self``, or of what is imported."""
    if isinstance(called, ast.Name):
        return True
    root = called
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and (root.id == "self" or root.id in source.imported)


def _unparsed(path: Path, error: BaseException) -> Unread:
    line = error.lineno if isinstance(error, SyntaxError) else None
    return Unread(Place(path, line or 1), f"cannot be parsed ({type(error).__name__})", True)
