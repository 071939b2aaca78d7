"""The words of a command as Hydra's overrides."""

import re
import unicodedata
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from vae_exp import parts
from vae_exp.errors import UserError
from vae_exp.knobs import KNOBS, all_groups


def parse(words: Iterable[str]) -> list[Override]:
    """Words of a command line as Hydra's overrides; a value that its grammar refuses is quoted.

    So `run=/my folder/ü (1)` is text, as it stands. Raises UserError for what is not `key=value`.
    """
    parser = OverridesParser.create()
    overrides = []
    for word in words:
        # `sweep` is a knob, which no group can be; what searches lies in conf/search.
        word = re.sub(r"^\+sweep=", "search=", word)
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in word):
            raise UserError(f"{word!r} holds a control character or bytes that are not UTF-8")
        key, equals, value = word.partition("=")
        if not re.search(r"\w", key) or not (equals or key.startswith("~")):
            raise UserError(f"{word!r} is not key=value, such as seed=3")
        try:
            override = parser.parse_override(word)
        except (HydraException, RecursionError):
            try:
                override = parser.parse_override(f"{key}={quoted(value)}")
            except HydraException:
                raise UserError(f"{word!r} is not key=value, such as seed=3") from None
        if _empties(override):  # Hydra would merge nothing into what is there
            key = override.key_or_group
            overrides += [parser.parse_override(part) for part in (f"~{key}", f"+{key}={{}}")]
        else:
            overrides.append(override)
    return overrides


def _empties(override: Override) -> bool:
    """Whether a word gives an empty part of the config, such as `task.analyses={}`."""
    inside = "." in override.key_or_group and not override.is_hydra_override()
    given = not override.is_delete() and not override.is_sweep_override()
    return inside and given and not override.is_add() and override.value() == {}


def parse_file(words: Iterable[str], path: object) -> list[Override]:
    """A job's words that lie in a file, which may be anybody's: only what a job may set.

    Raises UserError, naming the ``path``, for words for Hydra itself in any spelling, for what
    Hydra would resolve, for a choice that is no name, as a path would lead out of `conf/`, and for
    plugins that the command line has not named.
    """
    known = {*KNOBS, *all_groups()}
    overrides = parse(words)
    for override in overrides:
        key, value = override.key_or_group, override.value()
        given = value.list if isinstance(value, ChoiceSweep) else [value]
        names = [str(getattr(each, "text", each)) for each in given if not isinstance(each, dict)]
        places = (key, override.package or key)
        if (
            not all(re.fullmatch(r"\w+(\.[\w-]+)*", place) for place in places)
            or not {place.partition(".")[0] for place in places} <= known
            or "${" in str(override.input_line).replace("\\", "")
            or (key in all_groups() and not all(re.fullmatch(r"[\w-]+", name) for name in names))
        ):
            raise UserError(f"{path} holds {override.input_line!r}, which no job may set")
        if key == "plugins":
            parts.refuse_unnamed(path, named_plugins([override]))
    return overrides


def named_plugins(overrides: Iterable[Override]) -> list[str]:
    """The modules that words name as plugins."""
    given = [each.value() for each in overrides if each.key_or_group == "plugins"]
    return [str(name) for value in given if isinstance(value, list) for name in value]


def line(overrides: Iterable[Override]) -> list[str]:
    """Overrides as words again."""
    return [str(override.input_line) for override in overrides]


def quoted(value: str) -> str:
    """A value as text in Hydra's grammar, whatever it holds."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return f"'{text}" + "\\" * (len(text) - len(text.rstrip("\\"))) + "'"
