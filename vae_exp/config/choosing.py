"""What is wrong with a word by itself: its key, or a choice that its group has not."""

import re
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.override_parser.types import Override

from vae_exp.config import hints
from vae_exp.errors import Mistyped, UserError
from vae_exp.knobs import GROUPS, KNOBS, all_groups, choices, own_conf
from vae_exp.parts import CONF


class Swept(UserError):
    """Several values for a key of a command that is no sweep."""


def faults(override: Override, overrides: Iterable[Override]) -> list[UserError]:
    """What is wrong with a word among others."""
    return [*_of_key(override), *_of_choice(override, overrides)]


def _of_key(override: Override) -> Iterator[UserError]:
    key = override.key_or_group
    root, *below = re.split(r"[./]", key)
    hydra_keys = [declared.name for declared in fields(HydraConf)]
    if root not in [*KNOBS, *all_groups(), "hydra"]:
        yield hints.unknown(key)
    elif key == "hydra":
        yield UserError("hydra is given key by key, such as hydra.verbose=true")
    elif override.is_add() and root == "hydra" and below and below[0] not in hydra_keys:
        yield hints.unknown(key)
    elif override.is_delete() and key in [*KNOBS, *GROUPS]:
        yield UserError(f"{key} cannot be taken away, only given a value: {key}=...")
    elif override.is_sweep_override():
        yield Swept(f"{override.input_line} is several values for {key}: add -m to sweep")


def _of_choice(override: Override, overrides: Iterable[Override]) -> Iterator[UserError]:
    """A choice that a group has not, in `conf/`, the working folder's or the searchpath's."""
    key, value = override.key_or_group, override.value()
    root = re.split(r"[./]", key)[0]
    if root not in all_groups() or override.is_sweep_override():
        return
    added, elsewhere = _searched(overrides)
    allowed = choices(root, added)
    told = f"{root} must be one of {', '.join(allowed)}, got "
    if override.is_add() and override.package is None and key == root:
        yield UserError(f"{override.input_line} adds to {key}, which has a value: leave out the +")
    elif key == root and not override.is_delete():
        if isinstance(value, str) and value not in allowed and not elsewhere:
            yield Mistyped(key, told + reprlib.repr(value), choices=allowed)
        elif not isinstance(value, str | dict) or not value:
            yield UserError(told + str(override.input_line))
        elif isinstance(value, str) and len(found := _files(root, value, added)) > 1:
            names = " and ".join(map(str, found))
            yield UserError(f"{key}={value} is both {names}: give yours another name")
    elif root not in GROUPS:
        yield UserError(told + str(override.input_line))


def _files(group: str, name: str, added: Iterable[Path]) -> list[Path]:
    places = [CONF, *([own] if (own := own_conf()) else []), *added]
    return [file for place in places if (file := place / group / f"{name}.yaml").is_file()]


def _searched(overrides: Iterable[Override]) -> tuple[list[Path], bool]:
    """The folders that hydra.searchpath adds, and whether it adds others than folders."""
    given = [each.value() for each in overrides if each.key_or_group == "hydra.searchpath"]
    lists = [value for value in given if isinstance(value, list)]
    texts = [str(getattr(each, "text", each)) for value in lists for each in value]
    added = [Path(text.removeprefix("file://")) for text in texts if text.startswith("file://")]
    return added, len(added) < len(texts)
