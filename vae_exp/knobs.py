"""The typed root of the config: the knobs that people turn, and the groups that read them.

Each knob is one line of `Config`: its check, its error and its line of `--help` come from there.
"""

import reprlib
import types
import typing
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any

from annotated_types import Ge, Le
from omegaconf import MISSING
from pydantic import ConfigDict, TypeAdapter, ValidationError

from vae_exp import ranges
from vae_exp.errors import UserError
from vae_exp.ranges import NonNegative, Positive, PositiveNumber
from vae_exp.schema import SCHEMA


def knob(default: Any, help: str, kind: Any = str) -> Any:
    """A field of `Config` with its meaning and what it may be."""
    return field(default=default, metadata={"help": help, "kind": kind})


Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Digit = Annotated[int, Ge(0), Le(9)]


@dataclass
class Config:
    """What can be given as `key=value`: the knobs, then the groups, whose files lie in `conf/`."""

    seed: int = knob(0, "start of every random number", Seed)
    epochs: int = knob(100, "passes over the training images", Positive)
    batch_size: int = knob(200, "images a step", Positive)
    lr: float = knob(1e-2, "learning rate; under a schedule, its peak", PositiveNumber)
    latent_dim: int = knob(2, "dimensions of z", Positive)
    resume: str | None = knob(None, "a run (-m: a sweep) to go on with: latest, folder")
    run: str | None = knob(None, "a finished run: latest, its folder or a checkpoint")
    runs: tuple[str, ...] = knob((), "several of them: [FOLDER,FOLDER]")
    sweep: str | None = knob(None, "a sweep to summarise: latest or its folder")
    digit: int | None = knob(None, "which digit to look at", Digit)
    index: int | None = knob(None, "which image to look at", NonNegative)
    mask: str = knob("top", "visible part: top, left, centre, random:0.5, a PNG")

    data: Any = MISSING
    model: Any = MISSING
    prior: Any = MISSING
    likelihood: Any = MISSING
    posterior: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    task: Any = MISSING

    schema: int = SCHEMA


FINITE = ConfigDict(allow_inf_nan=False)
KNOBS: dict[str, Field[Any]] = {f.name: f for f in fields(Config) if "help" in f.metadata}
GROUPS = [f.name for f in fields(Config) if f.name not in KNOBS and f.name != "schema"]
_TYPES = typing.get_type_hints(Config)
_NAMES: dict[Any, str] = {int: "an integer", float: "a number", str: "text", bool: "true or false"}


def limits(name: str) -> str:
    """A knob's range, such as `>= 1` or `from 0 to 9`; empty if every value is allowed."""
    return ranges.limits(KNOBS[name].metadata["kind"])


def expected(name: str) -> str:
    """What a knob accepts, in words: its type and its range."""
    kind = _TYPES[name]
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    words = [_NAMES.get(kind, "a list") for kind in kinds if kind is not types.NoneType]
    text = " ".join([*words, limits(name)]).strip()
    return f"{text}, or null" if types.NoneType in kinds else text


def check_knob(name: str, value: Any) -> None:
    """Hold a value of the right type against its knob's range; raises UserError."""
    if not isinstance(value, int | float):
        return
    try:
        TypeAdapter(KNOBS[name].metadata["kind"], config=FINITE).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name} must be {expected(name)}, got {reprlib.repr(value)}") from error


def help_lines() -> Iterator[str]:
    """A line for each knob: name and default, meaning, range."""
    for name, declared in KNOBS.items():
        default = "" if declared.default in (None, ()) else declared.default
        allowed = f" ({limits(name)})" if limits(name) else ""
        yield f"  {f'{name}={default}':<24} {declared.metadata['help']}{allowed}"
