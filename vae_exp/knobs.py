"""The typed root of the config: the knobs that people turn, and the groups that read them.

Each knob is one line of `Config`: its check, its error and its line of `--help` come from there.
"""

import re
import reprlib
import types
import typing
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from vae_exp.errors import UserError
from vae_exp.parts import CONF
from vae_exp.ranges import Range
from vae_exp.schema import SCHEMA

NAME = r"[\w .,()+=-]{1,60}"  # nothing that Markdown, matplotlib or rich would take for markup


def knob(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str = "",
) -> Any:
    """A field of `Config` with its meaning and its range, or the words that it can be."""
    limits = Range(minimum=minimum, above=above, maximum=maximum)
    meta = {"help": help, "range": limits, "choices": choices, "pattern": pattern}
    return field(default=default, metadata=meta)


@dataclass
class Config:
    """What can be given as `key=value`: the knobs, then the groups, whose files lie in `conf/`."""

    seed: int = knob(0, "start of every random number", minimum=0, maximum=2**32 - 1)
    epochs: int = knob(100, "passes over the training images", minimum=1)
    batch_size: int = knob(200, "images a step", minimum=1)
    lr: float = knob(1e-2, "learning rate; under a schedule, its peak", above=0)
    latent_dim: int = knob(2, "dimensions of z", minimum=1)
    resume: str | None = knob(None, "a run (-m: a sweep) to go on with: latest, folder")
    run: str | None = knob(None, "a finished run: latest, its folder or a checkpoint")
    runs: tuple[str, ...] = knob((), "several of them: [FOLDER,FOLDER]")
    sweep: str | None = knob(None, "a sweep to summarise: latest or its folder")
    digit: int | None = knob(None, "which digit to look at", minimum=0, maximum=9)
    index: int | None = knob(None, "which image to look at", minimum=0)
    mask: str = knob("top", "visible part: top, left, centre, random:0.5, a PNG")
    split: str | None = knob(None, "which images", choices=("train", "validation", "test"))
    digits: tuple[int, ...] = knob((), "classes to go between: [3,8]")
    indices: tuple[int, ...] = knob((), "images to go between: [12,345]")
    init_from: str | None = knob(None, "a run whose weights to begin with: latest, folder")
    freeze: tuple[str, ...] = knob((), "parts that keep their weights: [decoder]")
    name: str | None = knob(None, "what to call a run in tables and captions", pattern=NAME)

    data: Any = MISSING
    model: Any = MISSING
    prior: Any = MISSING
    likelihood: Any = MISSING
    posterior: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    figures: Any = MISSING
    task: Any = MISSING

    schema: int = SCHEMA


KNOBS: dict[str, Field[Any]] = {f.name: f for f in fields(Config) if "help" in f.metadata}
GROUPS = [f.name for f in fields(Config) if f.name not in KNOBS and f.name != "schema"]
_TYPES = typing.get_type_hints(Config)
_NAMES: dict[Any, str] = {int: "an integer", float: "a number", str: "text", bool: "true or false"}


def choices(group: str) -> list[str]:
    """The names that a group can take: its files in `conf/`."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def all_groups() -> list[str]:
    """The groups, those without a default (such as `experiment`) last."""
    folders = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    return [*GROUPS, *(name for name in folders if name not in GROUPS)]


def limits(name: str) -> str:
    """A knob's range, such as `>= 1` or `from 0 to 9`; empty if every value is allowed."""
    meta = KNOBS[name].metadata
    return "one of " + ", ".join(meta["choices"]) if meta["choices"] else str(meta["range"])


def expected(name: str) -> str:
    """What a knob accepts, in words: its type and its range."""
    kind = _TYPES[name]
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    words = [_in_words(kind) for kind in kinds if kind is not types.NoneType]
    text = " ".join([*words, limits(name)]).strip()
    return f"{text}, or null" if types.NoneType in kinds else text


def _in_words(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_NAMES[typing.get_args(kind)[0]]}"
    return _NAMES[kind]


def check_knob(name: str, value: Any) -> None:
    """Hold a value against its knob's type and range; raises UserError."""
    meta = KNOBS[name].metadata
    if isinstance(value, str) and meta["pattern"] and not re.fullmatch(meta["pattern"], value):
        raise UserError(
            f"{name} must be 1 to 60 letters, digits, spaces and . , ( ) + = - _, "
            f"got {reprlib.repr(value)}"
        )
    kind = _TYPES[name]
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    wrong = not any(_is_a(value, each) for each in kinds)
    wrong = wrong or (isinstance(value, int | float) and value not in meta["range"])
    if wrong or (meta["choices"] and value is not None and value not in meta["choices"]):
        raise UserError(f"{name} must be {expected(name)}, got {reprlib.repr(value)}")


def _is_a(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return isinstance(value, list | tuple) and all(_is_a(each, item) for each in value)
    wanted = (int, float) if kind is float else kind
    return isinstance(value, wanted) and not isinstance(value, bool)


def help_lines() -> Iterator[str]:
    """A line for each knob: name and default, meaning, range."""
    for name, declared in KNOBS.items():
        default = "" if declared.default in (None, ()) else declared.default
        allowed = f" ({limits(name)})" if limits(name) else ""
        yield f"  {f'{name}={default}':<24} {declared.metadata['help']}{allowed}"
