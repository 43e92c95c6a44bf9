"""One Python file, parsed and never run: what its names stand for, and what its expressions are worth.

Only what is certain without running is told: literals, imports, and names that the whole file binds once.
"""

import ast
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from leakward.linting.place import Place
from leakward.linting.values import UNKNOWN, Made, Symbol

Node = TypeVar("Node", bound=ast.AST)
DEPTH = 20
"""Steps from name to value, and lists in lists, that are followed."""
NUMBERS = {
    f"{package}.{name}": float(name) for package in ("math", "numpy", "torch") for name in ("nan", "inf")
}  # fmt: skip
"""Constants of other packages that are numbers."""


@dataclass(frozen=True)
class Source:
    """A Python file.

    Args:
        path: Seen from the folder that was read.
        tree: The file, parsed.
    """

    path: Path
    tree: ast.Module

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Everything in the file."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imported(self) -> Mapping[str, str]:
        """Whole names of what is imported, by the names it has here."""
        found: dict[str, str] = {}
        for node in self.all(ast.Import):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name.partition(".")[0], _bound(alias))
        for node in self.all(ast.ImportFrom):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}")
        return found

    @cached_property
    def assigned(self) -> Mapping[str, ast.expr]:
        """Values of the names that the whole file binds once, by an assignment."""
        times = Counter(name for node in self.nodes for name in _binds(node))
        found: dict[str, ast.expr] = {}
        for node in self.nodes:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
        return {name: value for name, value in found.items() if times[name] == 1}

    @cached_property
    def calls(self) -> tuple[Made, ...]:
        """All calls of something that has a name."""
        return tuple(made for node in self.all(ast.Call) if (made := self.made(node)) is not None)

    @cached_property
    def attributes(self) -> frozenset[str]:
        """Whole names of everything that is written with a dot."""
        return frozenset(name for node in self.all(ast.Attribute) if (name := self.name(node)) is not None)

    def all(self, kind: type[Node]) -> Iterator[Node]:
        """Return all nodes of a kind."""
        return (node for node in self.nodes if isinstance(node, kind))

    def place(self, node: ast.AST) -> Place:
        """Return where a node stands."""
        return Place(self.path, getattr(node, "lineno", 1))

    def name(self, node: ast.expr) -> str | None:
        """Return the whole name of what ``a.b`` stands for, as far as imports tell; None if it is no name.

        Of ``f(x).b`` that is ``.b``.
        """
        parts: list[str] = []
        for _ in range(DEPTH):
            while isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            if not isinstance(node, ast.Name):
                return ".".join(["", *reversed(parts)]) or None
            value = None if node.id in self.imported else self.assigned.get(node.id)
            if not isinstance(value, ast.Name | ast.Attribute):
                return ".".join([self.imported.get(node.id, node.id), *reversed(parts)])
            node = value
        return None

    def follow(self, node: ast.expr) -> ast.expr:
        """Return the expression behind a name that the file binds once, or the expression itself."""
        for _ in range(DEPTH):
            if not isinstance(node, ast.Name) or node.id not in self.assigned:
                break
            node = self.assigned[node.id]
        return node

    def made(self, node: ast.Call, depth: int = DEPTH) -> Made | None:
        """Return a call with what its arguments are worth; None if what is called has no name."""
        name = self.name(node.func)
        if name is None:
            return None
        args = tuple(self.value(arg, depth - 1) for arg in node.args)
        keywords = {word.arg: self.value(word.value, depth - 1) for word in node.keywords if word.arg is not None}
        whole = len(keywords) == len(node.keywords) and not any(isinstance(arg, ast.Starred) for arg in node.args)
        return Made(name, args, keywords, whole, self.place(node))

    def value(self, node: ast.expr, depth: int = DEPTH) -> Any:
        """Return what an expression is worth: a constant, list or dictionary, ``Made``, ``Symbol`` or ``UNKNOWN``."""
        if depth < 0:
            return UNKNOWN
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp):
            return self._negative(node, depth)
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(item, depth - 1) for item in node.elts]
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {key.value: self.value(value, depth - 1) for key, value in pairs if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Call):
            made = self.made(node, depth)
            return UNKNOWN if made is None else _called(made)
        if isinstance(node, ast.Name) and node.id not in self.imported and node.id in self.assigned:
            return self._worth_of(node.id, depth)
        name = self.name(node)
        return UNKNOWN if name is None else NUMBERS.get(name, Symbol(name))

    @cached_property
    def _worth(self) -> dict[str, Any]:
        return {}

    def _worth_of(self, name: str, depth: int) -> Any:
        """Return what a name is worth; each is looked up once, so that names of lists of names stay cheap."""
        if name not in self._worth:
            self._worth[name] = UNKNOWN  # of a name that leads back to itself
            self._worth[name] = self.value(self.assigned[name], depth - 1)
        return self._worth[name]

    def _negative(self, node: ast.UnaryOp, depth: int) -> Any:
        value = self.value(node.operand, depth - 1)
        number = isinstance(node.op, ast.USub) and isinstance(value, int | float)
        return -value if number else UNKNOWN


def parse(content: bytes, path: Path) -> Source:
    """Return a Python file.

    Raises:
        SyntaxError: If it is none.
        RecursionError: If it is nested too deeply; so does ``MemoryError``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strings that Python would like to see written otherwise
        return Source(path, ast.parse(content))


def _bound(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _binds(node: ast.AST) -> list[str]:
    """Return the names that a node gives a value."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    return []


def _called(made: Made) -> Any:
    if made.name != "float" or len(made.args) != 1:
        return made
    try:
        return float(made.args[0])
    except (TypeError, ValueError, OverflowError):
        return UNKNOWN
