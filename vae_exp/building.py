"""Objects from plain configs: a class that is a part, called with keywords, and nothing else."""

import types
import typing
from importlib import import_module
from typing import Any

from vae_exp import signatures
from vae_exp.errors import UserError

PLAIN = (str, int, float, type(None))


def build(node: Any, key: str, kind: Any) -> Any:
    """The object of a ``kind`` that a `_target_` node describes, with all that lie below it.

    node: plain containers, in which nothing is left to resolve; key: its dotted place in the
    config, whose first word is the group that it belongs to. Nothing is built before all of it is
    checked. Raises UserError naming the key at fault.
    """
    signatures.check(node, key)
    built = _built(node, key)
    _hold(built, kind, key)
    return built


def _built(node: Any, key: str) -> Any:
    if isinstance(node, list):
        return [_built(item, f"{key}.{index}") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    values = {name: _built(item, f"{key}.{name}") for name, item in node.items()}
    if "_target_" not in values:
        return values
    module, _, name = values.pop("_target_").rpartition(".")
    part = getattr(import_module(module), name)
    kinds = _kinds(part)
    for argument, value in values.items():
        _hold(value, kinds.get(argument, Any), f"{key}.{argument}")
    return part(**values)


def _kinds(part: Any) -> dict[str, Any]:
    """What a constructor's arguments must be; nothing if only a type checker could say."""
    try:
        return typing.get_type_hints(part.__init__, include_extras=True)
    except NameError:  # another library's annotation, of a package that is not installed
        return {}


def _hold(value: Any, kind: Any, key: str) -> None:
    """Hold what was built against an annotation; plain values were held against it before."""
    kinds = _alternatives(kind)
    inner = next((typing.get_args(each) for each in kinds if typing.get_args(each)), (Any,))
    if isinstance(value, dict):
        for name, item in value.items():
            _hold(item, inner[-1], f"{key}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _hold(item, inner[0], f"{key}.{index}")
    elif not isinstance(value, PLAIN) and not any(_is_a(value, each) for each in kinds):
        wanted = " or ".join(getattr(each, "__name__", str(each)) for each in kinds)
        raise UserError(f"{key} must be of kind {wanted}, got {type(value).__name__}")


def _is_a(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:  # of plain values, held before
        return False
    return kind is Any or isinstance(value, typing.get_origin(kind) or kind)


def _alternatives(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Annotated:
        return _alternatives(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [each for part in typing.get_args(kind) for each in _alternatives(part)]
    return [kind]
