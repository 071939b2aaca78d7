"""Compose the config of a job and refuse it, in one line that names the key, if it cannot run.

Nothing is imported but Hydra, no folder is made, no data is read.
"""

import math
import re
import reprlib
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
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
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_exp import signatures
from vae_exp.config import hints, reading
from vae_exp.config.reading import looked_at as looked_at
from vae_exp.config.reading import training_knobs as training_knobs
from vae_exp.config.reading import trains as trains
from vae_exp.errors import Mistyped, UserError
from vae_exp.folders import CONFIG
from vae_exp.knobs import GROUPS, KNOBS, Config, all_groups, check_knob, choices, expected
from vae_exp.parts import CONF as CONF
from vae_exp.parts import PACKAGE as PACKAGE

RECORDS = str(CONFIG.parent)
SHARED = "vae_exp.training.distributed.Processes"
MANY_JOBS, MOST_JOBS = 100, 10_000  # of a sweep
REFUSALS = (
    HydraException,
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)
ConfigStore.instance().store(name="knobs", node=Config)


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
    Hydra would resolve, and for a choice that is no name: a path would lead out of `conf/`.
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
    return overrides


def quoted(value: str) -> str:
    """A value as text in Hydra's grammar, whatever it holds."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return f"'{text}" + "\\" * (len(text) - len(text.rstrip("\\"))) + "'"


def composed(overrides: list[Override]) -> DictConfig:
    """The config of one job with Hydra's own part, before any range is checked.

    Raises UserError for a key or a choice that does not exist and for a knob's wrong type.
    """
    with _explained(overrides):
        cfg = _composed(overrides)
    if cfg.hydra.output_subdir != RECORDS:
        raise UserError(
            f"hydra.output_subdir must be {RECORDS}, by which a run is found, "
            f"got {cfg.hydra.output_subdir or 'null'}"
        )
    HydraConfig.instance().set_config(cfg)
    return cfg


def check(cfg: DictConfig, overrides: list[Override]) -> None:
    """Refuse a composed config that cannot run; raises UserError naming the key at fault.

    Checked are the knobs' ranges, the keys and types of every `_target_` node, and that the task
    reads every key that was given.
    """
    with _explained(overrides):
        _check(cfg, overrides)


def _composed(overrides: Sequence[Override]) -> DictConfig:
    for override in overrides:
        _check_choice(override, anywhere=_searches_elsewhere(overrides))
    for override in overrides:
        _check_key(override)
    try:
        with initialized():
            words = [str(override.input_line) for override in overrides]
            return compose("config", words, return_hydra_config=True)
    except REFUSALS as error:
        raise _translated(error, overrides) from error


def _check(cfg: DictConfig, overrides: Sequence[Override]) -> None:
    for key in cfg:
        if key not in KNOBS and key not in GROUPS and key not in {"schema", "hydra"}:
            raise hints.unknown(str(key))
    for name in KNOBS:
        check_knob(name, resolved(cfg, name))
    for group in GROUPS:
        if not isinstance(cfg.hydra.runtime.choices.get(group), str):
            raise UserError(f"{group} must be one of {', '.join(choices(group))}")
        if not isinstance(resolved(cfg, group), dict):
            raise UserError(f"{group} must be one of {', '.join(choices(group))}, got {cfg[group]}")
    for group in GROUPS:
        signatures.check(resolved(cfg, group), group)
    reading.check(cfg, overrides, _composed_of)


@contextmanager
def _explained(overrides: Sequence[Override]) -> Iterator[None]:
    """Say of a key or a choice that does not exist what was probably meant."""
    try:
        yield
    except Mistyped as error:
        line = hints.explained(error, overrides, _composed_of, _refusal)
        raise UserError(line) from error


def _composed_of(words: list[str]) -> DictConfig:
    return _composed(parse(words))


def _refusal(words: list[str]) -> UserError | None:
    """Why words would be refused; None if they would not."""
    overrides = parse(words)
    try:
        _check(_composed(overrides), overrides)
    except UserError as error:
        return error
    return None


def jobs(cfg: DictConfig, overrides: list[Override]) -> list[list[Override]]:
    """Each job's overrides in a sweep; a search draws its own, so only what is fixed is known.

    cfg: composed from what is fixed. Raises UserError if the overrides make no job.
    """
    refuse_shared(cfg)
    sweeper = resolved(cfg, "hydra.sweeper") or {}
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        _refuse_doubles(overrides)
        return [[override for override in overrides if not override.is_sweep_override()]]
    params = parse(f"{key}={value}" for key, value in (sweeper["params"] or {}).items())
    own = [override for override in overrides if override.is_hydra_override()]
    _refuse_doubles(overrides, params)
    swept = [*params, *(override for override in overrides if not override.is_hydra_override())]
    count = math.prod(map(_values, swept))
    if count > MOST_JOBS:
        raise UserError(f"the sweep has {count:,} jobs, more than {MOST_JOBS:,}: give fewer values")
    if count > MANY_JOBS:
        print(f"the sweep has {count:,} jobs, each is checked first", file=sys.stderr, flush=True)
    with initialized():
        for override in swept:
            override.config_loader = GlobalHydra.instance().config_loader()
        try:
            [batch] = BasicSweeper.split_arguments(swept, None)
        except HydraException as error:
            raise UserError(str(error)) from error
    if not batch:
        raise UserError("the sweep has no job: " + " ".join(str(o.input_line) for o in swept))
    return [[*own, *parse(words)] for words in batch]


def _refuse_doubles(overrides: Iterable[Override], params: Iterable[Override] = ()) -> None:
    """Raise UserError if a key is given twice, of which only one would count.

    params: what `hydra.sweeper.params` holds.
    """
    said = {_place(each): f"{each.input_line} in hydra.sweeper.params" for each in params}
    for override in overrides:
        key = _place(override)
        if key in said:
            raise UserError(
                f"{override.key_or_group} is given twice, by {said[key]} and by "
                f"{override.input_line}: leave one of them out"
            )
        said[key] = str(override.input_line)


def _place(override: Override) -> tuple[str, str | None, bool]:
    return override.key_or_group, override.package, override.is_delete()


def _values(override: Override) -> int:
    """How many values a word gives its key in a sweep."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        if value.step == 0:
            raise UserError(f"{override.input_line} has a step of 0")
        return max(0, math.ceil((value.stop - value.start) / value.step))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def refuse_shared(cfg: DictConfig) -> None:
    """Raise UserError if a config is of a run that several processes share."""
    if cfg.trainer.get("_target_") == SHARED:
        raise UserError(
            f"trainer={cfg.hydra.runtime.choices.trainer} shares one run among all devices: start "
            "its runs one by one, without -m; a sweep shares its jobs by hydra/launcher"
        )


def resumed(cfg: DictConfig, overrides: list[Override]) -> str:
    """What `resume` names; its config is the whole config, so nothing else may be given."""
    reading.refuse_hydras(overrides, "resume")
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


def _check_key(override: Override) -> None:
    key = override.key_or_group
    root, *below = re.split(r"[./]", key)
    hydra_keys = [declared.name for declared in fields(HydraConf)]
    if root not in [*KNOBS, *all_groups(), "hydra"]:
        raise hints.unknown(key)
    if key == "hydra":
        raise UserError("hydra is given key by key, such as hydra.verbose=true")
    if override.is_add() and root == "hydra" and below and below[0] not in hydra_keys:
        raise hints.unknown(key)
    if override.is_delete() and key in [*KNOBS, *GROUPS]:
        raise UserError(f"{key} cannot be taken away, only given a value: {key}=...")
    if override.is_sweep_override():
        raise UserError(f"{override.input_line} is several values for {key}: add -m to sweep")


def _check_choice(override: Override, anywhere: bool) -> None:
    """Refuse a choice that a group has not; anywhere: whether it may lie outside of `conf/`."""
    key, value = override.key_or_group, override.value()
    root = re.split(r"[./]", key)[0]
    if root not in all_groups() or override.is_sweep_override():
        return
    allowed = choices(root)
    line = f"{root} must be one of {', '.join(allowed)}, got "
    if override.is_add() and override.package is None and key == root:
        raise UserError(f"{override.input_line} adds to {key}, which has a value: leave out the +")
    if key == root and not override.is_delete():
        if isinstance(value, str) and value not in allowed and not anywhere:
            raise Mistyped(key, line + reprlib.repr(value), choices=allowed)
        if not isinstance(value, str | dict) or not value:
            raise UserError(line + str(override.input_line))
    elif root not in GROUPS:
        raise UserError(line + str(override.input_line))


def _searches_elsewhere(overrides: Iterable[Override]) -> bool:
    return any(override.key_or_group == "hydra.searchpath" for override in overrides)


def resolved(cfg: DictConfig, key: str) -> Any:
    """What lies at a dotted key, as plain containers; raises UserError if it has no value."""
    try:
        value = OmegaConf.select(cfg, key, throw_on_missing=True)
        if not OmegaConf.is_config(value):
            return value
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, AttributeError) as error:
        at = getattr(error, "full_key", None) or key
        raise UserError(f"{at}: {_first_line(error)}") from error


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain containers: whatever it refers to is looked up now, and once."""
    keys = [str(key) for key in cfg if key != "hydra"]
    return {key: resolved(cfg, key) for key in keys}


def _translated(error: Exception, overrides: Sequence[Override]) -> UserError:
    """What Hydra refused in one line, from the exception that lies under its own."""
    if not isinstance(error, HydraException):
        line = " ".join(str(override.input_line) for override in overrides)
        return UserError(f"{line}: {error}")
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException):
        text = str(error).partition("Config search path")[0]
        if missing := re.match(r"Could not delete from config\. '([^']*)' does not exist", text):
            return hints.unknown(missing[1])
        if packaged := re.match(r"Could not override '([^'@]*)@[^']*'", text):
            return Mistyped(packaged[1], packaged[0], there="; there is nothing to override")
        return UserError(text)
    key = str(cause.full_key or "")
    given = [override for override in overrides if override.key_or_group.startswith(key)]
    if key in KNOBS:
        values = [o.value() if o.key_or_group == key else o.input_line for o in given]
        got = f", got {reprlib.repr(values[-1])}" if values else ""
        return UserError(f"{key} must be {expected(key)}{got}")
    if OmegaConf.is_config(cause.parent_node) and "not in" in str(cause):
        return hints.unknown(key)
    return UserError(f"{key or given[-1].input_line}: {_first_line(cause)}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
