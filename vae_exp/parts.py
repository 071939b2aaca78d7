"""Parts: what a config names by ``_target_``, held against its constructor and built.

The constructor's keyword signature is the schema: each plain value is validated by its annotation,
each nested part by the class that the annotation asks for. Nodes are plain containers, which are
never resolved or interpreted. A part is a class that a file of this package's ``conf/`` names, or
one of a module that was named as a plugin: so a config from elsewhere runs nothing else.
"""

import difflib
import importlib
import inspect
import json
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vae_exp.errors import UserError

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
TARGET = "_target_"
PLAIN_MODULES = ("builtins", "pathlib", "typing", "types")
REFUSED_KEYS = ("_args_", "_partial_", "_recursive_", "_convert_")
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
PLAIN_WORDS = {
    "Input should be ": "must be ",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "a valid dictionary": "a mapping",
    "greater than or equal to": ">=",
    "less than or equal to": "<=",
    "greater than": ">",
    "less than": "<",
    "Field required": "must be given",
}

_plugins: set[str] = set()


def add_plugins(modules: Iterable[str]) -> None:
    """Let parts be classes of these modules; raises UserError if one cannot be imported."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"plugins must name modules on sys.path or in the working folder, got {name!r}: "
                f"{error}"
            ) from error
        _plugins.add(name)


@cache
def own_parts() -> tuple[str, ...]:
    """Every class that a file of ``conf/`` names, by its dotted name."""
    files = [file for file in CONF.rglob("*.yaml") if CONF / "hydra" not in file.parents]
    found = re.findall(r"^\s*_target_:\s*([\w.]+)", "\n".join(map(_text, files)), re.MULTILINE)
    return tuple(dict.fromkeys(found))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def problems(node: Any, key: str, *kinds: type) -> list[str]:
    """All that is wrong with a part at a dotted key, a line each; nothing is built.

    ``kinds``: the classes that it may be of, any if none is given.
    """
    return list(_of_part(node, key, kinds))


def build(node: Mapping[str, Any], key: str = "part", **given: Any) -> Any:
    """The object that a node describes; ``given`` are further keywords of its constructor.

    Raises UserError, with all that is wrong, if the node does not fit.
    """
    wrong = problems(node, key)
    if wrong:
        raise UserError("; ".join(wrong))
    return _build(node, given)


def _build(node: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    part = _named(node[TARGET])
    annotations = _annotations(part)
    values = {
        name: _built(annotations[name], value) for name, value in node.items() if name != TARGET
    }
    return part(**values, **given)


def _built(annotation: Any, value: Any) -> Any:
    if _is_part(value):
        return _build(value, {})
    if isinstance(value, dict) and any(map(_is_part, value.values())):
        return {name: _built(_inner(annotation), item) for name, item in value.items()}
    if isinstance(value, list) and any(map(_is_part, value)):
        return [_built(_inner(annotation), item) for item in value]
    return adapter(annotation).validate_json(json.dumps(_as_list(annotation, value)))


def _of_part(node: Any, key: str, kinds: Sequence[type]) -> Iterator[str]:
    if not _is_part(node):
        yield f"{key} must be a part, a mapping with {TARGET}, got {reprlib.repr(node)}"
        return
    target = node[TARGET]
    if not _is_allowed(target):
        close = difflib.get_close_matches(str(target), own_parts(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        yield (
            f"{key}.{TARGET} must name a part of vae_exp or of a module in plugins=[...], got "
            f"{target!r}{hint}"
        )
        return
    try:
        part = _named(target)
    except (ImportError, AttributeError):
        yield f"{key}.{TARGET} names nothing that can be imported: {target!r}"
        return
    if kinds and not any(_fits(kind, part) for kind in kinds):
        yield f"{key} must be {_names(kinds)}, got {target}"
        return
    parameters, annotations = _parameters(part), _annotations(part)
    for name, value in node.items():
        if name == TARGET:
            continue
        if name in REFUSED_KEYS:
            yield f"{key}.{name} is not allowed: a part is named by {TARGET} and its own keys"
        elif name not in parameters:
            yield _unknown(key, str(name), parameters)
        else:
            yield from _of_value(annotations[name], value, f"{key}.{name}")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in node:
            yield f"{key}.{name} is missing: {target} needs it"


def _unknown(key: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    names = ", ".join(known) or "nothing"
    hint = f"did you mean {key}.{close[0]}?" if close else f"{key} takes {names}"
    return f"unknown key '{key}.{name}'; {hint}"


def _of_value(annotation: Any, value: Any, key: str) -> Iterator[str]:
    kinds, inner = list(_classes(annotation)), _inner(annotation)
    of_parts = any(True for _ in _classes(inner))
    if _is_part(value):
        yield from _of_part(value, key, kinds)
    elif isinstance(value, dict) and of_parts:
        for name, item in value.items():
            yield from _of_value(inner, item, f"{key}.{name}")
    elif isinstance(value, list) and of_parts:
        for index, item in enumerate(value):
            yield from _of_value(inner, item, f"{key}.{index}")
    elif kinds and (value is not None or types.NoneType not in get_args(annotation)):
        got = reprlib.repr(value)
        yield f"{key} must be {_names(kinds)}, a mapping with {TARGET}, got {got}"
    else:
        yield from plain_problems(annotation, _as_list(annotation, value), key)


def _inner(annotation: Any) -> Any:
    """What a mapping or a sequence holds, by its annotation."""
    holds = get_origin(annotation) in (Mapping, dict, Sequence, list, tuple)
    return get_args(annotation)[-1] if holds else None


def plain_problems(annotation: Any, value: Any, key: str) -> Iterator[str]:
    """What is wrong with a plain value at a dotted key, held against an annotation."""
    try:
        adapter(annotation).validate_json(json.dumps(value))
    except ValidationError as error:
        found: dict[tuple[str, str], list[str]] = {}
        for each in error.errors(include_url=False):
            place = ".".join([key, *(str(at) for at in each["loc"] if not _is_branch(at))])
            message = each["msg"]
            for hard, plain in PLAIN_WORDS.items():
                message = message.replace(hard, plain)
            found.setdefault((place, reprlib.repr(each["input"])), []).append(message)
        for (place, got), messages in found.items():
            yield f"{place} {' or '.join(dict.fromkeys(messages))}, got {got}"
    except TypeError:
        yield f"{key} must be a plain value, got {reprlib.repr(value)}"


def _is_branch(at: Any) -> bool:
    """Whether a part of an error's place names a branch of a union, not a place in the value."""
    return (isinstance(at, str) and not at.isidentifier()) or at in ("int", "float", "str", "bool")


def _as_list(annotation: Any, value: Any) -> Any:
    """A single value for what is a list, as ``[value]``."""
    alone = not isinstance(value, list | dict) and value is not None
    return [value] if alone and get_origin(annotation) in (Sequence, list, tuple) else value


def _is_part(node: Any) -> bool:
    return isinstance(node, dict) and TARGET in node


def _is_allowed(target: Any) -> bool:
    if not isinstance(target, str):
        return False
    return target in own_parts() or any(target.startswith(f"{name}.") for name in _plugins)


def _named(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _parameters(part: Any) -> dict[str, inspect.Parameter]:
    """The keywords of a constructor or a function."""
    found = inspect.signature(part).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {each.name: each for each in found if each.kind not in several}


def _annotations(part: Any) -> dict[str, Any]:
    """The annotation of each keyword; Any if there is none."""
    function = part.__init__ if inspect.isclass(part) else part
    hints = typing.get_type_hints(function, include_extras=True)
    return {name: hints.get(name, Any) for name in _parameters(part)}


@cache
def adapter(annotation: Any) -> TypeAdapter[Any]:
    """What validates plain values by an annotation: strictly, and without infinities."""
    return TypeAdapter(annotation, config=STRICT)


def _classes(annotation: Any) -> Iterator[type]:
    """The classes, other than plain values, that an annotation asks for."""
    if get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _classes(option)
    elif get_origin(annotation) is Annotated:
        yield from _classes(get_args(annotation)[0])
    elif inspect.isclass(annotation) and annotation.__module__ not in PLAIN_MODULES:
        yield annotation


def _names(kinds: Iterable[type]) -> str:
    return " or ".join(f"a {kind.__name__}" for kind in kinds)


def _fits(kind: type, part: Any) -> bool:
    """Whether a part is of a kind: a subclass of a class, or with every method of a protocol."""
    if not getattr(kind, "_is_protocol", False):
        return inspect.isclass(part) and issubclass(part, kind)
    methods = [
        name
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and (name == "__call__" or not name.startswith("_"))
    ]
    return all(callable(getattr(part, name, None)) for name in methods)
