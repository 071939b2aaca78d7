"""Compose the config of a job and refuse it, in one line that names the key, if it cannot run.

Nothing is imported but Hydra, no folder is made, no data is read.
"""

import difflib
import inspect
import os
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_exp import signatures
from vae_exp.data.settings import check_data_settings
from vae_exp.errors import UserError
from vae_exp.knobs import GROUPS, KNOBS, Config, check_knob, expected
from vae_exp.parts import CONF as CONF
from vae_exp.parts import PACKAGE as PACKAGE

TRAIN = "vae_exp.tasks.Train"
SHARED = "vae_exp.distributed.Processes"
REFUSALS = (
    HydraException,
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)
ASKED = {
    "run": ("a finished run: run=latest or run=FOLDER", "latest, a run's folder or a checkpoint"),
    "runs": ("finished runs: runs=[FOLDER,FOLDER]", "latest, a run's folder or a checkpoint"),
    "sweep": ("a sweep: sweep=latest or sweep=FOLDER", "latest or a sweep's folder"),
}  # the knob that names what a task looks at -> what it needs, what can be given
ConfigStore.instance().store(name="knobs", node=Config)


def choices(group: str) -> list[str]:
    """The names that a group can take: its files in `conf/`."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def all_groups() -> list[str]:
    """The groups, those without a default (such as `experiment`) last."""
    folders = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    return [*GROUPS, *(name for name in folders if name not in GROUPS)]


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
            overrides.append(parser.parse_override(word))
        except (HydraException, RecursionError):
            try:
                overrides.append(parser.parse_override(f"{key}={quoted(value)}"))
            except HydraException:
                raise UserError(f"{word!r} is not key=value, such as seed=3") from None
    return overrides


def quoted(value: str) -> str:
    """A value as text in Hydra's grammar, whatever it holds."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return f"'{text}" + "\\" * (len(text) - len(text.rstrip("\\"))) + "'"


def composed(overrides: list[Override]) -> DictConfig:
    """The config of one job with Hydra's own part, before any range is checked.

    Raises UserError for a key or a choice that does not exist and for a knob's wrong type.
    """
    for override in overrides:
        _check_key(override)
    try:
        return _compose([str(override.input_line) for override in overrides])
    except REFUSALS as error:
        raise UserError(_explain(error, overrides)) from error


def check(cfg: DictConfig, overrides: list[Override]) -> None:
    """Refuse a composed config that cannot run; raises UserError naming the key at fault.

    Checked are the knobs' ranges, the keys and types of every `_target_` node, and that the task
    reads every key that was given.
    """
    for key in cfg:
        if key not in KNOBS and key not in GROUPS and key not in {"schema", "hydra"}:
            raise UserError(_unknown(str(key)))
    for name in KNOBS:
        check_knob(name, resolved(cfg, name))
    for group in GROUPS:
        if not isinstance(cfg.hydra.runtime.choices.get(group), str):
            raise UserError(f"{group} must be one of {', '.join(choices(group))}")
        if not isinstance(resolved(cfg, group), dict):
            raise UserError(f"{group} must be one of {', '.join(choices(group))}, got {cfg[group]}")
    for group in GROUPS:
        signatures.check(resolved(cfg, group), group)
    if cfg.data._target_.startswith("vae_exp.data."):
        settings = inspect.signature(check_data_settings).parameters
        check_data_settings(**{k: v for k, v in resolved(cfg, "data").items() if k in settings})
    _check_reads(cfg, overrides)


def trains(cfg: DictConfig) -> bool:
    """Whether the task trains a model; every other task looks at a finished run."""
    return bool(cfg.task.get("_target_") == TRAIN)


def looked_at(cfg: DictConfig) -> list[str]:
    """The finished runs that the task looks at, as they were given."""
    asked = _asks_for(cfg.task)
    if asked == "runs":
        return list(cfg.runs or [])
    return [cfg[asked]] if asked and cfg[asked] else []


def jobs(cfg: DictConfig, overrides: list[Override]) -> list[list[Override]]:
    """Each job's overrides in a sweep; a search draws its own, so only what is fixed is known.

    cfg: composed from what is fixed. Raises UserError where the overrides make no job.
    """
    _refuse_shared(cfg)
    sweeper = resolved(cfg, "hydra.sweeper") or {}
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return [[override for override in overrides if not override.is_sweep_override()]]
    params = parse(f"{key}={value}" for key, value in (sweeper["params"] or {}).items())
    own = [override for override in overrides if override.is_hydra_override()]
    swept = [*params, *(override for override in overrides if not override.is_hydra_override())]
    with initialized():
        for override in swept:
            override.config_loader = GlobalHydra.instance().config_loader()
        try:
            [batch] = BasicSweeper.split_arguments(swept, None)
        except HydraException as error:
            raise UserError(str(error)) from error
    if not batch:
        raise UserError("the sweep has no job: " + " ".join(str(o.input_line) for o in swept))
    found = [[*own, *parse(words)] for words in batch]
    for job in found:
        if {override.key_or_group for override in job} & {"trainer", "experiment"}:
            _refuse_shared(composed(job))
    return found


def _refuse_shared(cfg: DictConfig) -> None:
    if cfg.trainer.get("_target_") == SHARED:
        raise UserError(
            f"trainer={cfg.hydra.runtime.choices.trainer} shares one run among all devices: start "
            "its runs one by one, without -m; a sweep shares its jobs by hydra/launcher"
        )


def resumed(cfg: DictConfig, overrides: list[Override]) -> str:
    """What `resume` names; its config is the whole config, so nothing else may be given."""
    for override in overrides:
        if override.key_or_group != "resume" and not override.is_hydra_override():
            raise UserError(
                f"{override.key_or_group} cannot be given with resume, which takes the run's config"
            )
    if cfg.resume is None:
        raise UserError("resume must be latest or a run's folder, got null")
    return str(cfg.resume)


@contextmanager
def initialized() -> Iterator[None]:
    """Hydra with `conf/`, while entered."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="vae_exp"):
        # A plugin's own config of the same name would be merged in: 1.3 warns of that, 1.4 ends it.
        for file in CONF.glob("hydra/*/*.yaml"):
            group = ConfigStore.instance().repo["hydra"].get(file.parent.name, {})
            group.pop(file.name, None)
        yield


def _compose(words: list[str]) -> DictConfig:
    with initialized():
        cfg = compose("config", words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def _check_key(override: Override) -> None:
    key = override.key_or_group
    root, *below = re.split(r"[./]", key)
    hydra_keys = [declared.name for declared in fields(HydraConf)]
    if root not in [*KNOBS, *all_groups(), "hydra"]:
        raise UserError(_unknown(key))
    if override.is_add() and root == "hydra" and below and below[0] not in hydra_keys:
        raise UserError(_unknown(key, hydra_keys))
    if override.is_delete() and key in [*KNOBS, *GROUPS]:
        raise UserError(f"{key} cannot be taken away, only given a value: {key}=...")
    if override.is_sweep_override():
        raise UserError(f"{override.input_line} is several values for {key}: add -m to sweep")
    if root in all_groups():
        chooses = key == root and not override.is_delete()
        wrong = chooses and not isinstance(override.value(), str | dict)
        if wrong or (below and root not in GROUPS):
            names = ", ".join(choices(root))
            raise UserError(f"{root} must be one of {names}, got {override.input_line}")


def _check_reads(cfg: DictConfig, overrides: list[Override]) -> None:
    task = cfg.hydra.runtime.choices.task
    training = trains(cfg)
    asked = _asks_for(cfg.task)
    looked = looked_at(cfg)
    if asked and not looked:
        raise UserError(f"task={task} needs {ASKED[asked][0]}")
    nodes = [cfg[group] for group in GROUPS] if training else [cfg.task]
    read = {"seed", *_interpolated(nodes)} | ({asked, "data.root"} if asked else set())
    for override in overrides:
        key = override.key_or_group
        if key in read or re.split(r"[./]", key)[0] in {"task", "hydra"}:
            continue
        if not training:
            raise UserError(
                f"{key} is not read by task={task}, which takes the run's own config; it reads "
                + ", ".join(sorted(read | {"task.*"}))
            )
        if key in KNOBS:
            readers = ", ".join(f"task={name}" for name in _tasks_that_read(key))
            raise UserError(f"{key} is not read by task={task}, but by {readers or 'no task'}")
    for spec in looked:
        if asked and spec != "latest" and not os.path.exists(spec):
            raise UserError(f"{asked} must be {ASKED[asked][1]}, got {spec!r}")


def _asks_for(task: DictConfig) -> str | None:
    """The knob that names what a task looks at; None where it trains."""
    if task.get("_target_") == TRAIN:
        return None
    read = _interpolated([task])
    return next((name for name in ASKED if name in read), "run")


def _tasks_that_read(knob: str) -> list[str]:
    nodes = {name: OmegaConf.load(CONF / "task" / f"{name}.yaml") for name in choices("task")}
    return [
        name
        for name, node in nodes.items()
        if isinstance(node, DictConfig) and knob in {*_interpolated([node]), _asks_for(node)}
    ]


def _interpolated(nodes: Iterable[DictConfig]) -> set[str]:
    """The knobs that some nodes read as `${knob}`."""
    text = " ".join(OmegaConf.to_yaml(node, resolve=False) for node in nodes)
    inside = " ".join(re.findall(r"\$\{[^{}]*\}", text))
    return {name for name in KNOBS if re.search(rf"(?<![\w.]){name}(?![\w.])", inside)}


def resolved(cfg: DictConfig, key: str) -> Any:
    """What lies at a dotted key, as plain containers; raises UserError where it has no value."""
    try:
        value = OmegaConf.select(cfg, key, throw_on_missing=True)
        if not OmegaConf.is_config(value):
            return value
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, AttributeError) as error:
        at = getattr(error, "full_key", None) or key
        raise UserError(f"{at}: {_first_line(error)}") from error


def _explain(error: Exception, overrides: list[Override]) -> str:
    """One line for what Hydra refused, from the exception that lies under its own."""
    if not isinstance(error, HydraException):
        return " ".join(str(override.input_line) for override in overrides) + f": {error}"
    if isinstance(error, MissingConfigException):
        for override in overrides:
            key, value, allowed = override.key_or_group, override.value(), None
            if key in all_groups() and value not in (allowed := choices(key)):
                hint = _nearest(str(value), allowed)
                return f"{key} must be one of {', '.join(allowed)}, got {reprlib.repr(value)}{hint}"
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException):
        return str(error).partition("Config search path")[0]
    key = str(cause.full_key or "")
    given = [override for override in overrides if override.key_or_group.startswith(key)]
    if key in KNOBS:
        values = [o.value() if o.key_or_group == key else o.input_line for o in given]
        return f"{key} must be {expected(key)}" + (
            f", got {reprlib.repr(values[-1])}" if values else ""
        )
    if OmegaConf.is_config(cause.parent_node) and "not in" in str(cause):
        return _unknown(key, cause.parent_node)
    return f"{key or given[-1].input_line}: {_first_line(cause)}"


def _unknown(key: str, parent: Iterable[Any] = ()) -> str:
    """The line for a key that does not exist: the nearest that does, or all that do."""
    prefix, dot, leaf = key.rpartition(".")
    siblings = [str(name) for name in parent if not str(name).startswith("_")]
    if not prefix or not siblings:
        known = [*KNOBS, *all_groups()]
        base = OmegaConf.to_container(_compose([]), resolve=False)
        nested = [name for name in _dotted(base) if name.rpartition(".")[2] == leaf and name != key]
        hint = f"; did you mean {nested[0]}?" if nested else _nearest(key, known)
        return f"unknown key {key!r}{hint or ': known are ' + ', '.join(known)}"
    hint = _nearest(leaf, siblings, prefix + dot)
    return f"unknown key {key!r}{hint or f': {prefix} holds ' + ', '.join(siblings)}"


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all that a config holds, but for Hydra's own part."""
    for key, below in node.items() if isinstance(node, dict) else ():
        if not str(key).startswith("_") and key != "hydra":
            yield f"{prefix}{key}"
            yield from _dotted(below, f"{prefix}{key}.")


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
