"""Plain YAML: what lies in a run's folder may be anybody's, so it is read and never interpreted.

No resolver runs on it (OmegaConf's read the environment and make configs out of text), no tag makes
an object, and no anchor lets a small file become a large one.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from vae_exp import files
from vae_exp.errors import Damaged, UserError

LARGEST = 200_000  # bytes: a config has 2,000, and a megabyte takes half a minute to read
DEEPEST = 40
LONGEST = 100  # items of a list that a reference leads to: many references must not make much of it
HOPS = 10
REFERENCE = re.compile(r"\$\{([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)\}")
DATA_ROOT = "${oc.env:VAE_EXP_DATA,data}"  # what older runs hold for a data.root that was not given
_NUMBERS = (
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]{0,999})", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
)
Kind = TypeVar("Kind", dict[Any, Any], list[Any])


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Mappings, lists and scalars without tags, anchors and YAML 1.1's dates and base 60."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, form) for tag, form in known if tag.endswith((":null", ":bool"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        for what in ("anchor", "tag"):
            if getattr(event, what, None) is not None:
                raise yaml.YAMLError(f"it holds the {what} {getattr(event, what)!r}")
        if self.depth == DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {DEEPEST} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.YAMLError("it holds a key twice")
        return mapping


for _tag, _form, _first in _NUMBERS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_form})\Z"), list(_first))


def read(path: Path, kind: type[Kind], largest: int = LARGEST) -> Kind:
    """The mapping or list that a YAML file holds, of at most ``largest`` bytes.

    Raises Damaged if it is no such file.
    """
    try:
        found = yaml.load(files.read(path, largest).decode(), Loader=_Loader)
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise Damaged(f"{path} is damaged: {reason}") from error
    if not isinstance(found, kind):
        wanted = {dict: "mapping", list: "list"}[kind]
        raise Damaged(f"{path} is damaged: it holds no {wanted} but {type(found).__name__}")
    return found


def resolved(config: dict[Any, Any]) -> dict[str, Any]:
    """A config whose ``${dotted.key}`` are replaced by what the same config holds there.

    Raises UserError naming the key for any other value that holds ``${``.
    """
    return {str(key): _resolved(value, str(key), config) for key, value in config.items()}


def _resolved(value: Any, key: str, config: dict[Any, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(item, f"{key}.{name}", config) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, f"{key}.{index}", config) for index, item in enumerate(value)]
    return _followed(value, key, config) if _holds_reference(value) else value


def _followed(value: str, key: str, config: dict[Any, Any]) -> Any:
    found: Any = value
    for _ in range(HOPS):
        reference = REFERENCE.fullmatch(found)
        if found == DATA_ROOT or reference is None:
            break
        found = config
        for name in reference[1].split("."):
            found = found.get(name, value) if isinstance(found, dict) else value
        if not _holds_reference(found):
            break
    if found == DATA_ROOT:
        return None
    if isinstance(found, dict) and REFERENCE.fullmatch(value) and "." not in value:
        return _part(found, key, config)
    items = found if isinstance(found, list) else [found]
    if len(items) > LONGEST or any(
        isinstance(item, dict | list) or _holds_reference(item) for item in items
    ):
        raise UserError(f"{key} must be a value or ${{KEY}}, that of another key, got {value!r}")
    return list(found) if isinstance(found, list) else found


def _part(found: dict[Any, Any], key: str, config: dict[Any, Any]) -> dict[str, Any]:
    """A group that another one holds, such as the prior of a model: a few plain values."""
    plain = {str(name): item for name, item in found.items() if not isinstance(item, dict | list)}
    if len(plain) < len(found) or len(plain) > LONGEST:
        raise UserError(f"{key} must be a value or a small part, got {found!r:.80}")
    known = {name: item for name, item in config.items() if not isinstance(item, dict)}
    return {name: _resolved(item, f"{key}.{name}", known) for name, item in plain.items()}


def _holds_reference(value: Any) -> bool:
    return isinstance(value, str) and "${" in value
