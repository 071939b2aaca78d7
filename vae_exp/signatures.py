"""Bind a config's `_target_` nodes to their constructors by reading source, so nothing is imported.

A wrong key or type is then refused in a fraction of a second, where importing torch takes several.
"""

import ast
import difflib
import reprlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from vae_exp import parts
from vae_exp.errors import Mistyped, UserError
from vae_exp.ranges import Range
from vae_exp.source import find

WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "Path": "a path",
    "bool": "true or false",
}
SEQUENCES = {"list", "tuple", "Sequence", "Iterable"}
MAPPINGS = {"dict", "Mapping"}


@dataclass(frozen=True)
class Parameter:
    """One keyword of a constructor: its annotation, the module it stands in, if it is required."""

    annotation: ast.expr | None
    module: str
    required: bool


@dataclass(frozen=True)
class Signature:
    """A constructor's keywords; `open` if it takes `**kwargs`."""

    parameters: dict[str, Parameter]
    open: bool = False


def check(node: Any, path: str, allowed: Collection[str] | None = None) -> None:
    """Bind every `_target_` node at or below `node` to its constructor, one of those `allowed`.

    node: plain containers, resolved; path: its dotted place in the config, for the message, whose
    first word is the group that says what is allowed if it is not given.
    Raises UserError naming the key that is unknown, missing, of the wrong type or out of range.
    """
    if allowed is None:
        allowed = parts.of(path.partition(".")[0])
    if isinstance(node, str) and "${" in node:
        raise UserError(f"{path} must not hold ${{, which a run's config cannot keep, got {node!r}")
    if isinstance(node, list):
        for index, item in enumerate(node):
            check(item, f"{path}.{index}", allowed)
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        _bind(node, path, allowed)
    for key, item in node.items():
        check(item, f"{path}.{key}", allowed)


def _bind(node: dict[Any, Any], path: str, allowed: Collection[str]) -> None:
    target = str(node["_target_"])
    signature = read(target) if target in allowed else None
    if signature is None:
        group = path.partition(".")[0]
        close = difflib.get_close_matches(target, allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            f"{path}._target_ must be a class that conf/{group} names, got {target!r}{hint}"
        )
    given = {key: value for key, value in node.items() if key != "_target_"}
    known = signature.parameters
    for key, value in given.items():
        if key not in known:
            if signature.open:
                continue
            names = ", ".join(known) or "nothing"
            raise Mistyped(
                f"{path}.{key}", f"unknown key '{path}.{key}'", f"; {target} takes {names}"
            )
        annotation = known[key].annotation
        if annotation is not None:
            _check_value(annotation, value, known[key].module, f"{path}.{key}")
    for key, parameter in known.items():
        if parameter.required and key not in given:
            raise UserError(f"{path}.{key} is missing: {target} needs it")


def _check_value(annotation: ast.expr, value: Any, module: str, path: str) -> None:
    match annotation:
        case ast.Subscript(value=ast.Name(id=outer), slice=ast.Tuple(elts=[_, inner])) if (
            outer in MAPPINGS and isinstance(value, dict) and not _is_built(value)
        ):
            for key, item in value.items():
                _check_value(inner, item, module, f"{path}.{key}")
        case _ if not _accepts(annotation, value, module):
            got = reprlib.repr(value)
            listed = f": write [{got}]" if _accepts(annotation, [value], module) else ""
            raise UserError(f"{path} must be {_words(annotation, module)}, got {got}{listed}")


def _words(annotation: ast.expr, module: str) -> str:
    """An annotation as a person says it, such as `an integer or null`."""
    match annotation:
        case ast.Constant(value=None):
            return "null"
        case ast.Constant(value=str(text)):
            return _words(ast.parse(text, mode="eval").body, module)
        case ast.Name(id=name) if name in WORDS:
            return WORDS[name]
        case ast.Name(id=name):
            alias = _alias(module, name)
            return name if alias is None else _words(alias[1], alias[0])
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_words(left, module)} or {_words(right, module)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return "one of " + ast.unparse(inner).strip("()").replace("'", "")
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, limits])):
            return f"{_words(inner, module)} {_range(limits)}"
        case ast.Subscript(value=ast.Name(id=outer), slice=ast.Name() as inner) if (
            outer in SEQUENCES
        ):
            return f"a list, each {_words(inner, module)}"
    return ast.unparse(annotation)


def _accepts(annotation: ast.expr, value: Any, module: str) -> bool:
    """Whether a plain value fits an annotation; annotations that say nothing of it accept it."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return _accepts(ast.parse(text, mode="eval").body, value, module)
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="str" | "Path" | "PathLike"):
            return isinstance(value, str)
        case ast.Name(id=name):
            return _accepts_name(name, value, module)
        case ast.Attribute(attr=name):
            return name in {"Any", "PathLike"} or _is_built(value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _accepts(left, value, module) or _accepts(right, value, module)
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            return _accepts_generic(outer, inner, value, module)
    return True


def _accepts_name(name: str, value: Any, module: str) -> bool:
    """A class takes what a `_target_` builds; an alias takes what it stands for."""
    alias = _alias(module, name)
    if alias is not None:
        return _accepts(alias[1], value, alias[0])
    where, node = find(module, name) or (module, None)
    return not isinstance(node, ast.ClassDef) or where == "typing" or _is_built(value)


def _alias(module: str, name: str) -> tuple[str, ast.expr] | None:
    """What a name stands for if it is `NAME = annotation`, and the module that says so."""
    where, node = find(module, name) or (module, None)
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        return where, node.value
    return None


def _range(node: ast.expr) -> Range:
    """`Range(minimum=1)` as it is written in an annotation; no limits for anything else."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Range":
        return Range(**{str(word.arg): ast.literal_eval(word.value) for word in node.keywords})
    return Range()


def _accepts_generic(outer: str, inner: ast.expr, value: Any, module: str) -> bool:
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Annotated":
        return _accepts(items[0], value, module) and value in _range(items[1])
    if outer == "Literal":
        options = [item.value for item in items if isinstance(item, ast.Constant)]
        return any(type(option) is type(value) and option == value for option in options)
    if outer in SEQUENCES:
        if not isinstance(value, list):
            return False
        if outer != "tuple" or _is_ellipsis(items[-1]):
            return all(_accepts(items[0], item, module) for item in value)
        return len(value) == len(items) and all(
            _accepts(item, part, module) for item, part in zip(items, value, strict=True)
        )
    if outer in MAPPINGS:
        return isinstance(value, dict)
    return outer != "Callable" or _is_built(value)


def _is_built(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def read(target: str) -> Signature | None:
    """The signature of a class or function by its dotted name; None if source does not tell."""
    module, _, name = target.rpartition(".")
    found = find(module, name)
    if found is None:
        return None
    where, node = found
    if isinstance(node, ast.FunctionDef):
        return _of_function(where, node)
    return _of_class(where, node) if isinstance(node, ast.ClassDef) else None


def _of_function(module: str, node: ast.FunctionDef, skip: int = 0) -> Signature:
    arguments = node.args
    positional = (arguments.posonlyargs + arguments.args)[skip:]
    first_default = len(positional) - len(arguments.defaults)
    parameters = {
        argument.arg: Parameter(argument.annotation, module, index < first_default)
        for index, argument in enumerate(positional)
    }
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters[argument.arg] = Parameter(argument.annotation, module, default is None)
    return Signature(parameters, open=arguments.kwarg is not None)


def _of_class(module: str, node: ast.ClassDef) -> Signature | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_function(module, item, skip=1)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _of_dataclass(module, node)
    for base in node.bases:
        found = find(module, base.id) if isinstance(base, ast.Name) else None
        if found is not None and isinstance(found[1], ast.ClassDef):
            inherited = _of_class(found[0], found[1])
            if inherited is not None:
                return inherited
    return None if node.bases else Signature({})


def _of_dataclass(module: str, node: ast.ClassDef) -> Signature:
    parameters: dict[str, Parameter] = {}
    for base in node.bases:
        found = find(module, base.id) if isinstance(base, ast.Name) else None
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
        parameters[item.target.id] = Parameter(item.annotation, module, required)
    return Signature(parameters)
