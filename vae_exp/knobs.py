"""The typed root of the config: the knobs that people turn, and the groups that read them.

Each knob is one line of `Config`: its check, its error and its line of `--help` come from there.
"""

import re
import reprlib
import typing
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from omegaconf import MISSING

from vae_exp import annotations, ranges
from vae_exp.errors import UserError
from vae_exp.parts import CONF
from vae_exp.ranges import NonNegative, Positive, PositiveNumber
from vae_exp.schema import SCHEMA

NAME = r"[\w .,()+=-]{1,60}"  # nothing that Markdown, matplotlib or rich would take for markup
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


def knob(default: Any, help: str, *, choices: tuple[str, ...] = (), pattern: str = "") -> Any:
    """A field of `Config` with its meaning, and the words that it can be if they are few."""
    return field(default=default, metadata={"help": help, "choices": choices, "pattern": pattern})


@dataclass
class Config:
    """What can be given as `key=value`: the knobs, then the groups, whose files lie in `conf/`."""

    seed: Seed = knob(0, "start of every random number")
    epochs: Positive = knob(100, "passes over the training images")
    batch_size: Positive = knob(200, "images a step")
    lr: PositiveNumber = knob(8e-3, "learning rate; under a schedule, its peak")
    latent_dim: Positive = knob(2, "dimensions of z")
    resume: str | None = knob(None, "a run (-m: a sweep) to go on with: latest, folder")
    run: str | None = knob(None, "a finished run: latest, its folder or a checkpoint")
    runs: tuple[str, ...] = knob((), "several of them: [FOLDER,FOLDER]")
    sweep: str | None = knob(None, "a sweep to summarise, or to look at: latest, folder")
    digit: NonNegative | None = knob(None, "which class to look at")
    index: NonNegative | None = knob(None, "which image to look at")
    mask: str = knob("top", "visible part: top, left, centre, random:0.5, a PNG")
    split: str | None = knob(None, "which images", choices=("train", "validation", "test"))
    digits: tuple[NonNegative, ...] = knob((), "classes to go between: [3,8]")
    indices: tuple[NonNegative, ...] = knob((), "images to go between: [12,345]")
    init_from: str | None = knob(None, "a run whose weights to begin with: latest, folder")
    freeze: tuple[str, ...] = knob((), "parts that keep their weights: [decoder]")
    name: str | None = knob(None, "what to call a run in tables and captions", pattern=NAME)
    plugins: tuple[str, ...] = knob((), "modules of your own that parts come from: [mine]")

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
OPTIONAL = ["experiment", "search"]  # groups of which a command need not choose
_HINTS = typing.get_type_hints(Config, include_extras=True)


def kind(name: str) -> Any:
    """What a knob may be, as an annotation."""
    words = KNOBS[name].metadata["choices"]
    return Literal[words] | None if words else _HINTS[name]


def own_conf() -> Path | None:
    """The `conf` of the working folder, whose files add choices; None if there is no other."""
    here = Path.cwd() / "conf"
    return here if here.is_dir() and not here.samefile(CONF) else None


def choices(group: str, folders: Iterable[Path] = ()) -> list[str]:
    """The names that a group can take: its files in `conf/`, in one's own, and in more folders."""
    own = own_conf()
    places = [CONF, *([own] if own else []), *folders]
    return sorted({file.stem for place in places for file in (place / group).glob("*.yaml")})


def all_groups() -> list[str]:
    """The groups, those without a default last."""
    return [*GROUPS, *OPTIONAL]


def limits(name: str) -> str:
    """A knob's range, such as `>= 1` or `from 0 to 9`; empty if every value is allowed."""
    if KNOBS[name].metadata["choices"]:
        return annotations.in_words(kind(name)).removesuffix(", or null")
    return "".join(ranges.limits(each) for each in (kind(name), *typing.get_args(kind(name))))


def expected(name: str) -> str:
    """What a knob accepts, in words: its type and its range."""
    return annotations.in_words(kind(name))


def check_knob(name: str, value: Any) -> None:
    """Hold a value against its knob's type and range; raises UserError."""
    pattern = KNOBS[name].metadata["pattern"]
    if isinstance(value, str) and pattern and not re.fullmatch(pattern, value):
        raise UserError(
            f"{name} must be 1 to 60 letters, digits, spaces and . , ( ) + = - _, "
            f"got {reprlib.repr(value)}"
        )
    default = [] if KNOBS[name].default == () else KNOBS[name].default  # known to be right
    if (type(value), value) != (type(default), default) and not annotations.accepts(
        kind(name), value
    ):
        raise UserError(f"{name} must be {expected(name)}, got {reprlib.repr(value)}")


def help_lines() -> Iterator[str]:
    """A line for each knob: name and default, meaning, range."""
    for name, declared in KNOBS.items():
        default = "" if declared.default in (None, ()) else declared.default
        allowed = f" ({limits(name)})" if limits(name) else ""
        yield f"  {f'{name}={default}':<24} {declared.metadata['help']}{allowed}"
