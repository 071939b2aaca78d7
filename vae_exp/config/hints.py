"""What was probably meant by a key or a choice that does not exist: only what would be accepted."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from vae_exp import parts
from vae_exp.config.reading import Composer, Incomplete, leaves
from vae_exp.errors import Mistyped, UserError
from vae_exp.knobs import KNOBS, all_groups

SIMILAR = 0.6  # the least difflib ratio of a hint
Faults = Callable[[list[str]], list[UserError]]


def unknown(key: str) -> Mistyped:
    """A key that does not exist."""
    return Mistyped(key, f"unknown key {key!r}")


def key_of(error: UserError) -> str:
    """The key that an error is about: it stands first."""
    if isinstance(error, Mistyped):
        return error.key
    return re.split(r"[\s:=]", str(error).lstrip("'\"+~"), maxsplit=1)[0]


def explained(
    error: Mistyped, overrides: Sequence[Override], compose: Composer, faults: Faults
) -> str:
    """The line for a mistyped word: with what would be accepted in its place, else what there is.

    compose: words to a config, or UserError; faults: all that is wrong with words.
    """
    words = [each for each in overrides if is_about(error.key, each)]
    if not words:  # it stands in a file
        return str(error)
    word = max(words, key=lambda each: len(each.key_or_group))
    sound = _sound([str(each.input_line) for each in overrides if each is not word], compose)
    plain = OmegaConf.to_container(compose(sound), resolve=False)
    meant = _meant(error, word, plain)
    before = {str(each) for each in faults(sound)} if meant else set()
    for name, instead in meant.items():
        after = [each for each in faults([*sound, instead]) if not isinstance(each, Incomplete)]
        if {str(each) for each in after} <= before:
            return f"{error.line}; did you mean {name}?"
    if error.choices or error.there:
        return str(error)
    return error.line + _there(max(error.key, word.key_or_group, key=len), plain)


def _meant(error: Mistyped, word: Override, plain: Any) -> dict[str, str]:
    """What may have been meant, as it is told -> the whole word; the likeliest first."""
    if error.choices:
        close = difflib.get_close_matches(str(word.value()), error.choices, n=3, cutoff=SIMILAR)
        return {choice: f"{error.key}={choice}" for choice in close}
    if word.package is not None:  # such as task@task.analyses.trust=trust
        return {f"+{word.input_line}": f"+{word.input_line}"}
    if error.key.startswith(f"{word.key_or_group}."):  # within the value of the word
        return {}
    names = _nearest(word.key_or_group, plain)
    if word.is_delete():
        return {f"~{name}": f"~{name}" for name in names}
    value = str(word.input_line).partition("=")[2]
    listed = [] if isinstance(word.value(), list) else [f"{name}=[{value}]" for name in names]
    return {name: f"{name}={value}" for name in names} | {each: each for each in listed}


def is_about(key: str, word: Override) -> bool:
    """Whether a word gives a key, something below it, or a value that holds it."""
    given = word.key_or_group.replace("/", ".")
    return f"{given}.".startswith(f"{key}.") or f"{key}.".startswith(f"{given}.")


def _sound(words: list[str], compose: Composer) -> list[str]:
    """The words that compose, without those that have mistakes of their own."""

    def composes(words: list[str]) -> bool:
        try:
            compose(words)
        except UserError:
            return False
        return True

    if composes(words):
        return words
    sound: list[str] = []
    for word in words:
        if composes([*sound, word]):
            sound.append(word)
    return sound


def _nearest(key: str, plain: Any) -> list[str]:
    """Keys of a config that resemble a key, the most similar first; a few."""
    *parents, leaf = re.split(r"[./]", key)
    ranked: dict[str, tuple[float, int, bool, int]] = {}
    values = dict(_known(plain, key))
    for name, value in values.items():
        *above, last = name.lstrip("+").split(".")
        ratio = max(
            difflib.SequenceMatcher(None, leaf, last).ratio(),
            difflib.SequenceMatcher(None, key, name.lstrip("+")).ratio() if not parents else 0,
        )
        common = sum(1 for mine, its in zip(parents, above, strict=False) if mine == its)
        if ratio >= SIMILAR and (common == len(parents) or ratio >= 0.8):
            name = _source(name, value, values)
            rank = (ratio, common, not name.startswith("+"), -len(above))
            ranked[name] = max(rank, ranked.get(name, rank))
    return sorted(ranked, key=lambda name: ranked[name], reverse=True)[:4]


def _source(name: str, value: Any, values: dict[str, Any]) -> str:
    """The key that another one takes its value from, by `${key}`; else the key itself."""
    match = re.fullmatch(r"\$\{([\w.]+)\}", str(value))
    if match is None or match[1] not in values:
        return name
    return _source(match[1], values[match[1]], values)


def _known(plain: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The keys that can be given, with their values.

    Below a group also `+key`, if a part takes a key that it has not: for that it is imported.
    """
    if key.startswith("hydra"):
        yield from leaves({"hydra": plain["hydra"]})
        return
    for name, value in leaves({name: plain.get(name) for name in [*KNOBS, *all_groups()]}):
        if re.search(r"(^|\.)_", name):
            continue
        yield name, value
        if "." in key and parts.is_part(value) and name.split(".")[0] == key.split(".")[0]:
            for taken in parts.named_parameters(value[parts.TARGET], name):
                if taken not in value:
                    yield f"+{name}.{taken}", None


def _there(key: str, plain: Any) -> str:
    """What there is where a key was looked for."""
    *parents, _ = re.split(r"[./]", key)
    place: list[str] = []
    for parent in parents:
        if not isinstance(plain, dict) or not isinstance(plain.get(parent), dict):
            break
        plain = plain[parent]
        place.append(parent)
    if not place:
        return ": known are " + ", ".join([*KNOBS, *all_groups()])
    names = [str(name) for name in plain if not str(name).startswith("_")]
    return f": {'.'.join(place)} holds {', '.join(names) or 'nothing'}"
