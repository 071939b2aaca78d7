"""The typed root of the config: the knobs that people turn, their ranges, and their checks.

Each knob is one line of `Config`: its check, its error and its line of `--help` come from there.
"""

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_exp import signatures
from vae_exp.errors import UserError

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
TRAIN = "vae_exp.tasks.Train"


def knob(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of `Config` with its meaning and its range."""
    limits = {"minimum": minimum, "above": above, "maximum": maximum, "choices": choices}
    return field(default=default, metadata={"help": help, **limits})


@dataclass
class Config:
    """What can be given as `key=value`: the knobs, then the groups, whose files lie in `conf/`."""

    seed: int = knob(0, "start of every random number", minimum=0, maximum=2**32 - 1)
    epochs: int = knob(100, "passes over the training images", minimum=1)
    batch_size: int = knob(200, "images a step", minimum=1)
    lr: float = knob(3e-3, "learning rate (its peak, under a schedule)", above=0)
    latent_dim: int = knob(2, "dimensions of z", minimum=1)
    run: str | None = knob(None, "a finished run: latest, its folder or a checkpoint")
    digit: int | None = knob(None, "which digit to look at", minimum=0, maximum=9)
    index: int | None = knob(None, "which image to look at", minimum=0)

    data: Any = MISSING
    model: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    task: Any = MISSING


KNOBS: dict[str, Field[Any]] = {f.name: f for f in fields(Config) if "help" in f.metadata}
GROUPS = [f.name for f in fields(Config) if f.name not in KNOBS]
_TYPES = typing.get_type_hints(Config)
_NAMES: dict[Any, str] = {int: "an integer", float: "a number", str: "text", bool: "true or false"}


def limits(name: str) -> str:
    """A knob's range in words, such as `>= 1` or `from 0 to 9`; empty where all values are allowed."""
    meta = KNOBS[name].metadata
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    low, high = meta["minimum"], meta["maximum"]
    if low is not None and high is not None:
        return f"from {low} to {high}"
    parts = ((">=", low), (">", meta["above"]), ("<=", high))
    return " and ".join(f"{sign} {limit}" for sign, limit in parts if limit is not None)


def expected(name: str) -> str:
    """What a knob accepts, in words: its type and its range."""
    kinds = typing.get_args(_TYPES[name]) or (_TYPES[name],)
    words = [_NAMES.get(kind, "a list") for kind in kinds if kind is not types.NoneType]
    text = " ".join([*words, limits(name)]).strip()
    return f"{text}, or null" if types.NoneType in kinds else text


def check_knob(name: str, value: Any) -> None:
    """Hold a knob's value against its range; raises UserError."""
    meta = KNOBS[name].metadata
    if value is None:
        return
    low, above, high = meta["minimum"], meta["above"], meta["maximum"]
    if (
        (isinstance(value, float) and not math.isfinite(value))
        or (low is not None and value < low)
        or (above is not None and value <= above)
        or (high is not None and value > high)
        or (meta["choices"] and value not in meta["choices"])
    ):
        raise UserError(f"{name} must be {expected(name)}, got {value!r}")


def choices(group: str) -> list[str]:
    """The names that a group can take: its files in `conf/`."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def all_groups() -> list[str]:
    """The groups, those without a default (such as `experiment`) last."""
    folders = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    return [*GROUPS, *(name for name in folders if name not in GROUPS)]


def parse(tokens: Iterable[str]) -> list[Override]:
    """Command-line words as Hydra's overrides; a value that its grammar cannot read is quoted.

    So `run=/a folder/ü (1)` is text, as it stands. Raises UserError for what is not `key=value`.
    """
    parser = OverridesParser.create()
    overrides = []
    for token in tokens:
        if not token.isprintable():
            raise UserError(f"{token!r} holds characters that cannot be printed")
        key, equals, value = token.partition("=")
        if not equals and not key.startswith("~"):
            raise UserError(f"{token!r} is not key=value, such as seed=3")
        try:
            overrides.append(parser.parse_override(token))
        except HydraException:
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            try:
                overrides.append(parser.parse_override(f"{key}='{escaped}'"))
            except HydraException:
                raise UserError(
                    f"{token!r} is not key=value, such as seed=3 or data=debug"
                ) from None
    return overrides


def composed(overrides: list[Override], name: str = "config", folder: Path = CONF) -> DictConfig:
    """The config of one job, Hydra's own part included, before any check of ranges."""
    ConfigStore.instance().store(name="knobs", node=Config)
    for override in overrides:
        _check_key(override)
    try:
        with initialize_config_dir(str(folder), version_base="1.3", job_name="vae_exp"):
            return compose(name, [str(o.input_line) for o in overrides], return_hydra_config=True)
    except HydraException as error:
        raise UserError(_explain(error, overrides)) from error


def check(cfg: DictConfig, overrides: list[Override]) -> None:
    """Refuse a composed config that cannot run; raises UserError naming the key at fault.

    Ranges of the knobs, keys that exist, keys and types of every `_target_` node, and keys given
    that the chosen task would not read.
    """
    for key in cfg:
        if key not in KNOBS and key not in GROUPS and key != "hydra":
            raise UserError(_unknown(str(key), cfg))
    for name in KNOBS:
        check_knob(name, _resolved(cfg, name))
    chosen = cfg.hydra.runtime.choices
    for group in GROUPS:
        if OmegaConf.is_missing(cfg, group) or not isinstance(chosen.get(group), str):
            raise UserError(f"{group} must be one of {', '.join(choices(group))}")
        if not isinstance(cfg[group], DictConfig):
            raise UserError(f"{group} must be one of {', '.join(choices(group))}, got {cfg[group]}")
    _check_reads(cfg, overrides)
    for group in GROUPS:
        signatures.check(_resolved(cfg, group), group)


def trains(cfg: DictConfig) -> bool:
    """Whether the task trains a model; every other task looks at a finished run."""
    return bool(cfg.task.get("_target_") == TRAIN)


def _check_key(override: Override) -> None:
    key = override.key_or_group
    root = re.split(r"[./]", key)[0]
    if root != "hydra" and root not in [*KNOBS, *all_groups()]:
        raise UserError(_unknown(key, None))
    if override.type == OverrideType.DEL and key in [*KNOBS, *GROUPS]:
        raise UserError(f"~{key}: {key} cannot be taken away, only given a value ({key}=...)")
    if override.is_sweep_override():
        raise UserError(f"{override.input_line} is several values for {key}: add -m to sweep")
    if key in all_groups() and override.type != OverrideType.DEL:
        value, allowed = override.value(), choices(key)
        if value not in allowed and not (value is None and key not in GROUPS):
            close = difflib.get_close_matches(str(value), allowed, n=1)
            hint = f"; did you mean {key}={close[0]}?" if close else ""
            raise UserError(f"{key} must be one of {', '.join(allowed)}, got {value!r}{hint}")


def _check_reads(cfg: DictConfig, overrides: list[Override]) -> None:
    task = cfg.hydra.runtime.choices.task
    training = trains(cfg)
    if not training and not cfg.run:
        raise UserError(f"task={task} needs a finished run: run=latest or run=FOLDER")
    readers = [cfg[group] for group in GROUPS] if training else [cfg.task]
    read = {"seed", *_interpolated(readers)} | (set() if training else {"run", "data.root"})
    for override in overrides:
        key = override.key_or_group
        if key in read or re.split(r"[./]", key)[0] in {"task", "hydra"}:
            continue
        if training and key not in KNOBS:
            continue
        if training:
            raise UserError(f"{key} is not read when training; give it with a task that reads it")
        allowed = ", ".join(sorted(read | {"task.*"}))
        raise UserError(
            f"{key} is not read by task={task}: the run's own config is used; it reads {allowed}"
        )


def _interpolated(nodes: Iterable[DictConfig]) -> set[str]:
    text = " ".join(
        " ".join(re.findall(r"\$\{[^{}]*\}", OmegaConf.to_yaml(node, resolve=False)))
        for node in nodes
    )
    return {name for name in KNOBS if re.search(rf"(?<![\w.]){name}(?![\w.])", text)}


def _resolved(cfg: DictConfig, key: str) -> Any:
    try:
        value = cfg[key]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or key}: {_first_line(error)}") from error


def _explain(error: HydraException, overrides: list[Override]) -> str:
    """One line for what Hydra refused, from the exception that lies under its own."""
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException):
        return " ".join(str(error).split())
    key = str(cause.full_key or "")
    given = [o.value() for o in overrides if o.key_or_group == key]
    if key in KNOBS:
        return f"{key} must be {expected(key)}, got " + (
            repr(given[-1]) if given else "another type"
        )
    if OmegaConf.is_config(cause.parent_node) and "not in" in str(cause):
        return _unknown(key, cause.parent_node)
    return " ".join(f"{key}: {_first_line(cause)}".split())


def _unknown(key: str, parent: Any) -> str:
    """The line for a key that does not exist, with the nearest that does."""
    prefix, _, _ = key.rpartition(".")
    if prefix and parent is not None:
        known = [f"{prefix}.{name}" for name in parent if not str(name).startswith("_")]
        listed = f"{prefix} holds " + ", ".join(name.rpartition(".")[2] for name in known)
    else:
        known = [*KNOBS, *all_groups()]
        listed = "known are " + ", ".join(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"unknown key {key!r}: " + (f"did you mean {close[0]}? " if close else "") + listed


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def help_lines() -> Iterator[str]:
    """A line for each knob, derived from `Config`: name and default, meaning, range."""
    for name, knob_field in KNOBS.items():
        default = "" if knob_field.default is None else knob_field.default
        allowed = limits(name)
        suffix = f" ({allowed})" if allowed else ""
        yield f"  {f'{name}={default}':<16} {knob_field.metadata['help']}{suffix}"
