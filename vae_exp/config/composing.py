"""Compose the config of a job and refuse it, in lines that each name a key, if it cannot run.

Hydra composes once. Nothing else is imported, but for the classes of the groups that a word
changes: what stands in `conf/` fits its classes, as the tests hold. No folder is made, no data
read.
"""

import re
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_exp import parts
from vae_exp.config import choosing, hints, reading
from vae_exp.config.reading import trains as trains
from vae_exp.config.words import line
from vae_exp.config.words import parse as parse
from vae_exp.config.words import parse_file as parse_file
from vae_exp.config.words import quoted as quoted
from vae_exp.errors import Mistyped, UserError, all_of, first_line
from vae_exp.folders import CONFIG
from vae_exp.knobs import GROUPS, KNOBS, Config, check_knob, expected, own_conf
from vae_exp.knobs import all_groups as all_groups
from vae_exp.knobs import choices as choices
from vae_exp.parts import CONF as CONF
from vae_exp.parts import PACKAGE as PACKAGE

RECORDS = str(CONFIG.parent)
REFUSALS = (
    HydraException,
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)
ConfigStore.instance().store(name="knobs", node=Config)


class OwnConf(SearchPathPlugin):
    """Choices of one's own: the `conf` of the working folder, searched after the package's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder if there is one."""
        if folder := own_conf():
            search_path.append("working folder", f"file://{folder}")


@contextmanager
def initialized() -> Iterator[None]:
    """Hydra with `conf/`, while entered."""
    Plugins.instance().register(OwnConf)
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="vae_exp"):
        # A plugin's own config of the same name would be merged in: 1.3 warns of that, 1.4 ends it.
        for file in CONF.glob("hydra/*/*.yaml"):
            group = ConfigStore.instance().repo["hydra"].get(file.parent.name, {})
            group.pop(file.name, None)
        yield


def context() -> HydraContext:
    """What Hydra's jobs and launchers are handed while it is initialized; it calls nothing back."""
    silent: Any = Callback()
    return HydraContext(GlobalHydra.instance().config_loader(), silent)


@dataclass
class Attempt:
    """What came of composing words: the config of those that are sound, and what is wrong."""

    overrides: list[Override]
    cfg: DictConfig
    sound: list[Override]
    wrong: list[UserError]

    def config(self, sweeping: bool = False) -> DictConfig:
        """The config, if no word is wrong; raises UserError. A sweep may give several values."""
        wrong = [each for each in self.wrong if not (sweeping and isinstance(each, choosing.Swept))]
        all_of(_told(wrong, self.overrides, self))
        HydraConfig.instance().set_config(self.cfg)
        return self.cfg

    def check(self, sweeping: bool = False) -> DictConfig:
        """The config, with no value wrong and every word read; raises UserError for all else."""
        wrong = [each for each in self.wrong if not (sweeping and isinstance(each, choosing.Swept))]
        told = {override.key_or_group for override in self.overrides if override not in self.sound}
        if told & {*all_groups()}:  # without its choice a command is another one
            wrong += _of_knobs(self.cfg)
        else:
            wrong += problems(self.cfg, self.sound)
            if not sweeping:
                command = "run" if reading.trains(self.cfg) else "look"
                wrong += reading.hydras(self.sound, command)
        all_of(_told(wrong, self.overrides, self))
        HydraConfig.instance().set_config(self.cfg)
        return self.cfg


def attempt(overrides: Sequence[Override]) -> Attempt:
    """Compose words, without those that are wrong by themselves."""
    wrong: list[UserError] = []
    sound: list[Override] = []
    for override in overrides:
        faults = choosing.faults(override, overrides)[:1]
        wrong += faults
        if not faults:
            sound.append(override)
    while True:
        try:
            with initialized():
                cfg = compose("config", line(sound), return_hydra_config=True)
        except REFUSALS as error:
            wrong.append(_translated(error, sound))
            if not sound:  # it is a file in `conf/` that does not compose
                all_of(wrong)
            sound.remove(_culprit(wrong[-1], sound))
        else:
            if cfg.hydra.output_subdir != RECORDS:
                got = cfg.hydra.output_subdir or "null"
                must = f"hydra.output_subdir must be {RECORDS}, by which a run is found, got {got}"
                wrong.append(UserError(must))
            return Attempt(list(overrides), cfg, sound, wrong)


def _culprit(error: UserError, overrides: Sequence[Override]) -> Override:
    """The word that an error is about, or the first one with which those before do not compose."""
    about = [each for each in overrides if hints.is_about(hints.key_of(error), each)]
    if len(about) == 1:
        return about[0]
    for end in range(1, len(overrides)):
        try:
            with initialized():
                compose("config", line(overrides[:end]))
        except REFUSALS:
            return overrides[end - 1]
    return overrides[-1]


def composed(overrides: list[Override]) -> DictConfig:
    """The config of one job with Hydra's own part, before any value is checked.

    Raises UserError for keys and choices that do not exist and for knobs of the wrong type.
    """
    return attempt(overrides).config()


def check(cfg: DictConfig, overrides: Sequence[Override]) -> None:
    """Refuse a composed config that cannot run; raises UserError naming each key at fault."""
    all_of(_told(list(problems(cfg, overrides)), overrides))


def problems(cfg: DictConfig, overrides: Sequence[Override]) -> Iterator[UserError]:
    """What is wrong with a config: a knob's range, a word that is not read, a part's key or type.

    Of the parts only those that a word changes are held against their classes.
    """
    for key in cfg:
        if key not in KNOBS and key not in GROUPS and key not in {"schema", "hydra"}:
            yield hints.unknown(str(key))
    yield from _of_knobs(cfg)
    for group in GROUPS:
        if not isinstance(cfg.hydra.runtime.choices.get(group), str):
            yield UserError(f"{group} must be one of {', '.join(choices(group))}")
        elif not OmegaConf.is_dict(cfg[group]):
            yield UserError(f"{group} must be one of {', '.join(choices(group))}, got {cfg[group]}")
    yield from reading.problems(cfg, overrides, _composed_of)
    changed = {each for override in overrides for each in _changes(override)}
    plain = OmegaConf.to_container(cfg, resolve=False)
    found: list[UserError] = []
    for group in GROUPS:
        deep = bool({group, *parts.HOLDS.get(group, ())} & changed)
        found += _of_group(cfg, group, deep)
    yield from _without_echoes(found, plain)


def _of_group(cfg: DictConfig, group: str, deep: bool) -> Iterator[UserError]:
    """What is wrong with a group's values; ``deep``: and with those that its classes take."""
    try:
        node = resolved(cfg, group)
    except UserError as error:
        yield error
    else:
        if deep:
            yield from parts.problems(node, group, reading.kind_of(group))


def _of_knobs(cfg: DictConfig) -> Iterator[UserError]:
    for name in KNOBS:
        try:
            value = resolved(cfg, name)
            check_knob(name, value)
            if name == "plugins":
                parts.refuse_unnamed("the config", value)
        except UserError as error:
            yield error


def _changes(override: Override) -> list[str]:
    """The groups in which a word changes more than a choice among the package's own files."""
    group = re.split(r"[./]", override.package or override.key_or_group)[0]
    own = (CONF / override.key_or_group / f"{override.value()}.yaml").is_file()
    if override.key_or_group not in GROUPS and group not in GROUPS:
        return GROUPS if group in all_groups() and not own else []
    return [] if own and override.package is None and not override.is_delete() else [group]


def _without_echoes(errors: list[UserError], plain: Any) -> list[UserError]:
    """Errors of keys that hold a value of their own, if there are some."""
    return [error for error in errors if not _refers(hints.key_of(error), plain)] or errors


def _refers(key: str, plain: Any) -> bool:
    for name in key.split("."):
        plain = plain.get(name) if isinstance(plain, dict) else plain
    return isinstance(plain, str) and "${" in plain


def _told(
    errors: Sequence[UserError], overrides: Sequence[Override], known: Attempt | None = None
) -> list[UserError]:
    """Errors in the order of the words, each with what was probably meant.

    known: what came of composing the words.
    """

    def place(error: UserError) -> int:
        key = hints.key_of(error)
        about = (i for i, override in enumerate(overrides) if hints.is_about(key, override))
        return next(about, len(overrides))

    @cache  # the same words are composed for several reasons
    def tried(words: tuple[str, ...]) -> Attempt:
        if known is not None and words == tuple(str(each.input_line) for each in known.sound):
            return Attempt(known.sound, known.cfg, known.sound, [])
        return attempt(parse(words))

    def compose_all(words: list[str]) -> DictConfig:
        found = tried(tuple(words))
        all_of(found.wrong)
        return found.cfg

    def faults(words: list[str]) -> list[UserError]:
        found = tried(tuple(words))
        return [*found.wrong, *problems(found.cfg, found.sound)]

    told = []
    for error in sorted(errors, key=place):
        if isinstance(error, Mistyped):
            error = UserError(hints.explained(error, overrides, compose_all, faults))
        told.append(error)
    return list({str(error): error for error in told}.values())


def _composed_of(words: list[str]) -> DictConfig:
    found = attempt(parse(words))
    all_of(found.wrong)
    return found.cfg


def resumed(overrides: list[Override]) -> DictConfig:
    """The config of words that go on with a run: its own is the whole, so only plugins are given.

    Raises UserError for any other word.
    """
    cfg = composed(overrides)
    all_of(reading.hydras(overrides, "resume"))
    reading.refuse_repeated(overrides)
    for override in overrides:
        if override.key_or_group not in ("resume", "plugins") and not override.is_hydra_override():
            raise UserError(
                f"{override.key_or_group} cannot be given with resume, which takes the run's config"
            )
    if cfg.resume is None:
        raise UserError("resume must be latest or a run's folder, got null")
    return cfg


def resolved(cfg: DictConfig, key: str) -> Any:
    """What lies at a dotted key, as plain containers; raises UserError if it has no value."""
    try:
        value = OmegaConf.select(cfg, key, throw_on_missing=True)
        if not OmegaConf.is_config(value):
            return value
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, AttributeError) as error:
        at = getattr(error, "full_key", None) or key
        raise UserError(f"{at}: {first_line(error)}") from error


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain containers: whatever it refers to is looked up now, and once."""
    keys = [str(key) for key in cfg if key != "hydra"]
    return {key: resolved(cfg, key) for key in keys}


def _translated(error: Exception, overrides: Sequence[Override]) -> UserError:
    """What Hydra refused in one line, from the exception that lies under its own."""
    if not isinstance(error, HydraException):
        return UserError(f"{' '.join(line(overrides))}: {error}")
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
    return UserError(f"{key or given[-1].input_line}: {first_line(cause)}")
