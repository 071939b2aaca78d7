"""Annotations: what a value must be, whether it is, and how that is said to a person."""

import inspect
import json
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from vae_exp.ranges import limits

PLAIN: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    types.NoneType: "null",
}
LISTS = (list, tuple, Sequence, Iterable)
MAPPINGS = (dict, Mapping)


@cache
def parameters(part: Any) -> dict[str, inspect.Parameter]:
    """The keywords of a constructor, their annotations resolved; Any for one that cannot be."""
    try:
        signature = inspect.signature(part, eval_str=True)
    except (NameError, SyntaxError):
        signature = inspect.signature(part)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        each.name: each.replace(annotation=Any) if _is_unsaid(each.annotation) else each
        for each in signature.parameters.values()
        if each.kind not in several
    }


def _is_unsaid(annotation: Any) -> bool:
    return annotation is inspect.Parameter.empty or isinstance(annotation, str)


def is_open(part: Any) -> bool:
    """Whether a constructor takes any keyword; one that hands all on, as a Module's, says none."""
    kinds = {each.kind for each in inspect.signature(part).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds


@cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # 0.1 s, which --help and --cfg do not need
    from pydantic.errors import PydanticUserError
    from pydantic_core import SchemaError

    strict = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    try:
        return TypeAdapter(annotation, config=strict)
    except SchemaError:  # a protocol, which no plain value is
        others = [each for each in options(annotation) if not _is_protocol(each)]
        return TypeAdapter(Union[tuple(others) or (Callable,)], config=strict)  # noqa: UP007
    except (PydanticUserError, NameError):  # an annotation that says nothing that can be checked
        return TypeAdapter(Any)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a plain value fits an annotation: true is no integer and "3" no number."""
    try:
        _adapter(annotation).validate_json(json.dumps(value))
    except (ValueError, TypeError):
        return False
    return True


def options(annotation: Any) -> list[Any]:
    """The branches of a union, without what is said of their values."""
    origin = origin_of(annotation)
    if origin is Annotated:
        return options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [each for branch in get_args(annotation) for each in options(branch)]
    return [annotation]


def origin_of(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


def inner(annotation: Any) -> Any:
    """What a mapping or a list holds, by its annotation."""
    found = [each for each in options(annotation) if origin_of(each) in (*LISTS, *MAPPINGS)]
    items = [item for each in found for item in get_args(each) if item is not ...]
    return items[-1] if items else Any


def is_late(kind: Any) -> bool:
    """Whether an annotation asks for what makes an object, ``Callable[..., Optimizer]``."""
    return any(origin_of(each) is Callable and len(get_args(each)) == 2 for each in options(kind))


def fits(kind: Any, part: Any) -> bool:
    """Whether an object of a class is of a kind; of a protocol, if it has each of its methods."""
    origin = origin_of(kind)
    if kind is Any:
        return True
    if origin is Callable:
        return _has(part, "__call__") if len(get_args(kind)) < 2 else fits(get_args(kind)[1], part)
    if _is_protocol(origin):
        methods = [name for name, each in vars(origin).items() if inspect.isfunction(each)]
        ours = [name for name in methods if name == "__call__" or not name.startswith("_")]
        return all(_has(part, name) for name in ours)
    return inspect.isclass(origin) and issubclass(part, origin)


def _is_protocol(kind: Any) -> bool:
    return bool(getattr(origin_of(kind), "_is_protocol", False))


def _has(part: type, method: str) -> bool:
    return any(callable(vars(each).get(method)) for each in part.__mro__)


def in_words(annotation: Any) -> str:
    """An annotation as a person says it, such as `an integer >= 1 or null`."""
    origin, args = origin_of(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin is Annotated:
        return f"{in_words(args[0])} {limits(annotation)}".strip()
    if origin in (Union, types.UnionType):
        null = ", or null" if types.NoneType in args else ""
        return " or ".join(in_words(each) for each in args if each is not types.NoneType) + null
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in LISTS:
        return f"a list, each {in_words(args[0])}" if args else "a list"
    if origin in MAPPINGS:
        return "a mapping"
    return f"a {annotation.__name__}" if inspect.isclass(annotation) else str(annotation)
