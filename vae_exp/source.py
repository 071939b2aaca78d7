"""Definitions found by reading source files, so that nothing is imported."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def find(module: str, name: str) -> tuple[str, ast.stmt] | None:
    """The definition of `name` as `module` sees it, through its imports; with its own module."""
    tree = parse(module)
    if tree is None:
        return None
    for node in _statements(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return module, node
        if isinstance(node, ast.Assign) and any(ast.unparse(t) == name for t in node.targets):
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(node.module, alias.name)
    return None


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from node.body
            yield from node.orelse


@cache
def parse(module: str) -> ast.Module | None:
    """A module's syntax tree; None if it has no Python source."""
    path = locate(module)
    return None if path is None else ast.parse(path.read_text(encoding="utf-8"))


@cache
def locate(module: str) -> Path | None:
    """A module's file, found without importing its parent packages."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:
        return None
    if spec is None or spec.origin is None:
        return None
    stem = Path(spec.origin).parent.joinpath(*rest)
    candidates = (stem.with_suffix(".py"), stem / "__init__.py") if rest else (Path(spec.origin),)
    return next((path for path in candidates if path.suffix == ".py" and path.is_file()), None)
