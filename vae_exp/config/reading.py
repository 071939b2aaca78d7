"""Which words of a command are read; every other one is refused, by its key and with the reason."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from vae_exp import parts
from vae_exp.data.settings import check_suits, refuse_idle
from vae_exp.errors import UserError, all_of
from vae_exp.knobs import GROUPS, KNOBS, all_groups
from vae_exp.parts import CONF

TRAIN = "vae_exp.training.train.Train"
ASKED = {
    "run": ("a finished run: run=latest or run=FOLDER", "latest, a run's folder or a checkpoint"),
    "runs": ("finished runs: runs=[FOLDER,FOLDER]", "latest, a run's folder or a checkpoint"),
    "sweep": ("a sweep: sweep=latest or sweep=FOLDER", "latest or a sweep's folder"),
}  # the knob that names what a task looks at -> what it needs, what can be given
SETTABLE = {
    "run": "env hydra_logging job job_logging mode output_subdir run searchpath verbose",
    "look": "mode searchpath",
    "resume": "job_logging mode searchpath verbose",
}  # what a command is -> the parts of Hydra's own config that it reads
REASONS = {
    "run": "a single run does not read it",
    "look": "a task on finished runs makes no folder and does not read it",
    "resume": "resume goes on in the run's own folder and does not read it",
}
SWEEPS = {"launcher", "sweep", "sweeper"}  # parts that sweeps read
OF_JOB = {"chdir", "config", "env_copy", "env_set", "name"}  # the rest of hydra.job Hydra fills in
KINDS = {
    "model": "vae_exp.models.vae.VAE",
    "prior": "vae_exp.models.contracts.Prior",
    "likelihood": "vae_exp.models.contracts.Likelihood",
    "posterior": "vae_exp.models.contracts.PosteriorFamily",
    "objective": "vae_exp.training.fitting.Objective",
    "optimizer": "vae_exp.training.fitting.OptimizerFactory",
    "task": "collections.abc.Callable",
}  # what a group's part must be; imported only if a word changes the group
Composer = Callable[[list[str]], DictConfig]


class Incomplete(UserError):
    """A command that is right as far as it goes, but lacks what the task looks at."""


def kind_of(group: str) -> Any:
    """What the part of a group must be."""
    module, _, name = KINDS.get(group, "typing.Any").rpartition(".")
    return getattr(import_module(module), name)


def trains(cfg: DictConfig) -> bool:
    """Whether the task trains a model; every other task looks at a finished run."""
    return bool(cfg.task.get("_target_") == TRAIN)


def training_knobs(cfg: DictConfig) -> set[str]:
    """The knobs that tell what a training run does."""
    return {"seed", "epochs", *interpolated([cfg[name] for name in GROUPS if name != "task"])}


def asks_for(task: DictConfig) -> str | None:
    """The knob that names what a task looks at, of several the one given; None if it trains."""
    if task.get("_target_") == TRAIN:
        return None
    own = [name for name in ASKED if name in task]
    given = [n for n in own if OmegaConf.select(task, n, throw_on_resolution_failure=False)]
    return next(iter([*given, *own]), "run")


def of_one_run(task: DictConfig) -> bool:
    """Whether a task is a question to one finished run, and so can be put to many."""
    return asks_for(task) == "run" and "run" not in task


def looks_at_jobs(cfg: DictConfig) -> bool:
    """Whether a task on one finished run is put to each one of a sweep instead."""
    return of_one_run(cfg.task) and cfg.sweep is not None


def named_by(cfg: DictConfig) -> str | None:
    """The knob that names what a command looks at; None if it trains."""
    return "sweep" if looks_at_jobs(cfg) else asks_for(cfg.task)


def looked_at(cfg: DictConfig) -> list[str]:
    """The finished runs, or the sweep, that the task looks at, as they were given."""
    asked = named_by(cfg)
    if asked is None:
        return []
    given = cfg.task[asked] if asked in cfg.task else cfg[asked]
    return list(given or []) if asked == "runs" else [given] if given else []


def interpolated(nodes: Iterable[Any]) -> set[str]:
    """The knobs that some nodes read as `${knob}`."""
    text = " ".join(OmegaConf.to_yaml(node, resolve=False) for node in nodes)
    return _named_in(text)


def _named_in(text: str) -> set[str]:
    inside = " ".join(re.findall(r"\$\{[^{}]*\}", text))
    return {name for name in KNOBS if re.search(rf"(?<![\w.]){name}(?![\w.])", inside)}


def is_choice(override: Override) -> bool:
    """Whether a word takes one of a group's files, such as `data=debug`."""
    return override.key_or_group in all_groups() and isinstance(override.value(), str)


def refuse_repeated(overrides: Sequence[Override]) -> None:
    """Refuse a key that is given twice; raises UserError."""
    all_of(_repeated(overrides))


def _repeated(overrides: Sequence[Override]) -> Iterator[UserError]:
    seen: dict[tuple[str, str | None, bool], Override] = {}
    for override in overrides:
        # ~key +key={...} is Hydra's way to put something new in the place of what was there.
        key = (override.key_or_group, override.package, override.is_delete())
        if key in seen:
            yield UserError(
                f"{key[0]} is given twice, as {seen[key].input_line} and as "
                f"{override.input_line}: give it once"
            )
        seen[key] = override


def hydras(overrides: Iterable[Override], command: str) -> Iterator[UserError]:
    """Each word for Hydra itself that a command (a key of SETTABLE) does not read."""
    for override in overrides:
        if not override.is_hydra_override():
            continue
        _, part, *below = re.split(r"[./]", override.key_or_group)
        filled_in = part == "job" and below and below[0] not in OF_JOB
        if part not in SETTABLE[command].split() or filled_in:
            add = ": add -m to sweep" if command == "run" and part in SWEEPS else ""
            yield UserError(f"{override.key_or_group} cannot be given: {REASONS[command]}{add}")


def problems(
    cfg: DictConfig, overrides: Sequence[Override], compose: Composer
) -> Iterator[UserError]:
    """Each word that the command would not read, and what it lacks.

    compose: words to a config, by which the reason is found.
    """
    yield from _repeated(overrides)
    yield from _undone(cfg, overrides)
    task = cfg.hydra.runtime.choices.task
    training = trains(cfg)
    asked = named_by(cfg)
    looked = looked_at(cfg)
    if asked and not looked:
        yield Incomplete(f"task={task} needs {ASKED[asked][0]}")
    groups = GROUPS if training else ["task"]
    read = {"seed", "plugins", *interpolated([cfg[group] for group in groups])}
    looks = of_one_run(cfg.task)  # and keeps figures
    if asked:
        read |= {"data.root"} | ({"run"} if asks_for(cfg.task) == "run" else set())
        read |= {"sweep"} if looks else set()
    given = {"task", "hydra"} | ({"figures"} if looks else set())
    if looks_at_jobs(cfg) and cfg.run is not None:
        yield UserError("run and sweep cannot be given together: give one run, or a sweep's runs")
    for override in overrides:
        key = override.key_or_group
        if key in read or re.split(r"[./]", key)[0] in given:
            continue
        replaced = _replaced(key, overrides, groups, compose) if key in KNOBS else ""
        if replaced:
            yield UserError(replaced)
        elif not training:
            yield UserError(
                f"{key} is not read by task={task}, which takes the run's own config; it reads "
                + ", ".join(sorted(read | {f"{group}.*" for group in given - {"hydra"}}))
            )
        elif key in KNOBS:
            readers = ", ".join(f"task={name}" for name in _tasks_that_read(key))
            yield UserError(
                f"{key} is not read by task={task}" + (f", but by {readers}" if readers else "")
            )
    if training:
        yield from _idle(cfg, overrides)
    for spec in looked:
        if asked and spec != "latest" and not os.path.exists(spec):
            yield UserError(f"{asked} must be {ASKED[asked][1]}, got {spec!r}")


def _replaced(
    knob: str, overrides: Sequence[Override], groups: Sequence[str], compose: Composer
) -> str:
    """Why a knob is not read if other words took every place where it would be; else empty."""
    base = compose([str(override.input_line) for override in overrides if is_choice(override)])
    places = [
        key
        for key, value in leaves(OmegaConf.to_container(base, resolve=False))
        if knob in _named_in(str(value)) and key.partition(".")[0] in groups
    ]
    blamed = {
        override.key_or_group: str(override.input_line)
        for override in overrides
        if not is_choice(override)
        and any(_is_within(place, override.key_or_group) for place in places)
    }
    verb = "takes its place" if len(blamed) == 1 else "take its place"
    return f"{knob} is not read, because {' and '.join(blamed.values())} {verb}" if blamed else ""


def _undone(cfg: DictConfig, overrides: Sequence[Override]) -> Iterator[UserError]:
    """Each word of which another one, or what was there before, leaves nothing."""
    own = [each for each in overrides if not each.is_hydra_override() and not is_choice(each)]
    plain = OmegaConf.to_container(cfg, resolve=False)
    for override in own:
        key = override.key_or_group
        others = [each for each in own if each is not override]
        same = [each for each in others if each.key_or_group == key]
        related = [
            each
            for each in others
            if _is_within(each.key_or_group, key) or _is_within(key, each.key_or_group)
        ]
        if override.is_delete():
            undone = bool(related and not same and _found(plain, key))
        elif override.value() == {}:
            undone = not related and _found(plain, key) != [{}]
        else:  # by itself a value may have been converted to the type of its place
            compared = related or isinstance(override.value(), dict)
            undone = compared and not any(
                _covers(found, override.value()) for found in _found(plain, key)
            )
        if undone and related:
            if not any(same):
                words = " and ".join(str(each.input_line) for each in (override, related[0]))
                yield UserError(f"{key}: {words} cannot be given together")
        elif undone:
            yield UserError(
                f"{override.input_line} leaves in {key} what it holds: empty a part by its own "
                "key, as in task.analyses={}"
            )


def _found(plain: Any, key: str) -> list[Any]:
    """What lies at a dotted key, in a list that is empty if there is nothing."""
    for part in key.split("."):
        if not isinstance(plain, dict) or part not in plain:
            return []
        plain = plain[part]
    return [plain]


def _covers(found: Any, given: Any) -> bool:
    if isinstance(given, dict) and given and isinstance(found, dict):
        return all(key in found and _covers(found[key], item) for key, item in given.items())
    return bool(found == given or str(found) == str(given))


def _idle(cfg: DictConfig, overrides: Sequence[Override]) -> Iterator[UserError]:
    """Settings of a training run that another setting leaves without effect."""
    task = cfg.task
    try:
        refuse_idle(cfg.data, [override.key_or_group for override in overrides])
    except UserError as error:
        yield error
    try:
        _refuse_unsuited(cfg)
    except UserError as error:
        yield error
    if task.get("figures_every") and not task.analyses:
        yield UserError(
            "task.figures_every is not read by a task without analyses: task=train has some"
        )


def _refuse_unsuited(cfg: DictConfig) -> None:
    """Raise UserError if the likelihood is none of images that are made binary so, or left grey."""
    node, how = OmegaConf.to_container(cfg.likelihood), cfg.data.get("binarization")
    plainly = node == parts.choice("likelihood", "bernoulli") and how != "none"
    if plainly or not isinstance(how, str):  # the first is known without importing the class
        return
    takes = getattr(parts.class_of(node, "likelihood"), "takes", "any")
    check_suits(how, f"likelihood={cfg.hydra.runtime.choices.likelihood}", takes)


def _is_within(key: str, other: str) -> bool:
    return key == other or key.startswith(other + ".")


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names of all that lies in plain containers, with the values."""
    for key, below in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}", below
        yield from leaves(below, f"{prefix}{key}.")


def _tasks_that_read(knob: str) -> list[str]:
    names = sorted(file.stem for file in (CONF / "task").glob("*.yaml"))
    nodes = {name: OmegaConf.create(parts.choice("task", name)) for name in names}
    return [
        name
        for name, node in nodes.items()
        if knob in {*interpolated([node]), asks_for(node)} or (knob == "sweep" and of_one_run(node))
    ]
