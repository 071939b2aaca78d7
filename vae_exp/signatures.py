"""Bind a config's `_target_` nodes to their constructors by reading source, so nothing is imported.

A wrong key or type is then refused in a fraction of a second, where importing torch takes several.
"""

import ast
import difflib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vae_exp.errors import UserError

WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "Path": "a path",
    "bool": "true or false",
}
INSTANTIATE_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


@dataclass(frozen=True)
class Parameter:
    """One keyword of a constructor: its annotation as written, and whether it must be given."""

    annotation: ast.expr | None
    required: bool


@dataclass(frozen=True)
class Signature:
    """A constructor's keywords; `open` where it takes `**kwargs`."""

    parameters: dict[str, Parameter]
    open: bool = False


def check(node: Any, path: str) -> None:
    """Bind every `_target_` node at or below `node` to its constructor.

    node: plain containers, resolved; path: its dotted place in the config, for the message.
    Raises UserError naming the key that is unknown, missing or of the wrong type.
    """
    if isinstance(node, list):
        for index, item in enumerate(node):
            check(item, f"{path}.{index}")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        _bind(node, path)
    for key, item in node.items():
        check(item, f"{path}.{key}")


def _bind(node: dict[Any, Any], path: str) -> None:
    target = node["_target_"]
    if not isinstance(target, str):
        raise UserError(f"{path}._target_ must be the dotted name of a class, got {target!r}")
    signature = read(target)
    if signature is None:
        if target.startswith(f"{__package__}."):
            raise UserError(f"{path}._target_ must name something that exists, got {target!r}")
        return
    given = {key: value for key, value in node.items() if key not in INSTANTIATE_KEYS}
    known = signature.parameters
    for key, value in given.items():
        if key not in known:
            if signature.open:
                continue
            close = difflib.get_close_matches(str(key), known, n=1)
            names = ", ".join(known) or "nothing"
            hint = f"did you mean {path}.{close[0]}?" if close else f"{target} takes {names}"
            raise UserError(f"unknown key '{path}.{key}'; {hint}")
        annotation = known[key].annotation
        if annotation is not None and not _accepts(annotation, value):
            raise UserError(f"{path}.{key} must be {_words(annotation)}, got {value!r}")
    if node.get("_partial_") or node.get("_args_"):
        return
    for key, parameter in known.items():
        if parameter.required and key not in given:
            raise UserError(f"{path}.{key} is missing: {target} needs it")


def _words(annotation: ast.expr) -> str:
    """An annotation as a person says it, such as `an integer or null`."""
    match annotation:
        case ast.Constant(value=None):
            return "null"
        case ast.Constant(value=str(text)):
            return _words(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in WORDS:
            return WORDS[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_words(left)} or {_words(right)}"
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return f"{_words(inner)} or null"
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=items)):
            return " or ".join(map(_words, items))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return "one of " + ast.unparse(inner).strip("()").replace("'", "")
    return ast.unparse(annotation)


def _accepts(annotation: ast.expr, value: Any) -> bool:
    """Whether a plain value fits an annotation; annotations that say nothing of it accept it."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return _accepts(ast.parse(text, mode="eval").body, value)
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="str" | "Path"):
            return isinstance(value, str)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _accepts(left, value) or _accepts(right, value)
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            return _accepts_generic(outer, inner, value)
    return True


def _accepts_generic(outer: str, inner: ast.expr, value: Any) -> bool:
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Optional":
        return value is None or _accepts(inner, value)
    if outer == "Union":
        return any(_accepts(item, value) for item in items)
    if outer == "Literal":
        return any(
            isinstance(item, ast.Constant)
            and type(item.value) is type(value)
            and item.value == value
            for item in items
        )
    if outer in {"list", "List", "Sequence", "Iterable", "tuple", "Tuple"}:
        if not isinstance(value, list):
            return False
        if outer.lower() != "tuple" or _is_ellipsis(items[-1]):
            return all(_accepts(items[0], item) for item in value)
        return len(value) == len(items) and all(map(_accepts, items, value))
    if outer in {"dict", "Dict", "Mapping"}:
        return isinstance(value, dict)
    return True


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def read(target: str) -> Signature | None:
    """The signature of a class or function by its dotted name; None where source does not tell."""
    module, _, name = target.rpartition(".")
    found = _find(module, name)
    if found is None:
        return None
    where, node = found
    return _of_function(node) if isinstance(node, ast.FunctionDef) else _of_class(where, node)


def _of_function(node: ast.FunctionDef, skip: int = 0) -> Signature:
    arguments = node.args
    positional = (arguments.posonlyargs + arguments.args)[skip:]
    first_default = len(positional) - len(arguments.defaults)
    parameters = {
        argument.arg: Parameter(argument.annotation, index < first_default)
        for index, argument in enumerate(positional)
    }
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters[argument.arg] = Parameter(argument.annotation, default is None)
    return Signature(parameters, open=arguments.kwarg is not None)


def _of_class(module: str, node: ast.ClassDef) -> Signature | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_function(item, skip=1)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _of_dataclass(module, node)
    for base in node.bases:
        found = _find(module, base.id) if isinstance(base, ast.Name) else None
        if found is not None and isinstance(found[1], ast.ClassDef):
            inherited = _of_class(found[0], found[1])
            if inherited is not None:
                return inherited
    return None if node.bases else Signature({})


def _of_dataclass(module: str, node: ast.ClassDef) -> Signature:
    parameters: dict[str, Parameter] = {}
    for base in node.bases:
        found = _find(module, base.id) if isinstance(base, ast.Name) else None
        if found is not None and isinstance(found[1], ast.ClassDef):
            inherited = _of_class(found[0], found[1])
            parameters |= inherited.parameters if inherited is not None else {}
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if ast.unparse(item.annotation).startswith("ClassVar"):
            continue
        default = item.value
        required = default is None
        if isinstance(default, ast.Call) and ast.unparse(default.func).endswith("field"):
            keywords = {keyword.arg: keyword.value for keyword in default.keywords}
            init = keywords.get("init")
            if isinstance(init, ast.Constant) and init.value is False:
                continue
            required = not keywords.keys() & {"default", "default_factory"}
        parameters[item.target.id] = Parameter(item.annotation, required)
    return Signature(parameters)


def _find(module: str, name: str) -> tuple[str, ast.ClassDef | ast.FunctionDef] | None:
    """The definition of `name` as `module` sees it, through its imports; with its own module."""
    tree = _parse(module)
    if tree is None:
        return None
    for node in _statements(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(_absolute(module, node), alias.name)
    return None


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from node.body
            yield from node.orelse


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    path = _source(module)
    parts = module.split(".")
    drop = node.level - (path is not None and path.name == "__init__.py")
    package = parts[: len(parts) - drop]
    return ".".join([*package, *([node.module] if node.module else [])])


@cache
def _parse(module: str) -> ast.Module | None:
    path = _source(module)
    return None if path is None else ast.parse(path.read_text(encoding="utf-8"))


@cache
def _source(module: str) -> Path | None:
    """A module's file, found without importing its parent packages."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = (
            path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        )
    return path if path.is_file() and path.suffix == ".py" else None
