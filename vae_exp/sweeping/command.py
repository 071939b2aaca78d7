"""`python -m vae_exp -m ...`: check every job of a sweep, give it a folder, start it or go on."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from vae_exp import folders, knobs
from vae_exp.config import composing, splitting
from vae_exp.errors import UserError
from vae_exp.sweeping import launching, search, sweeps, working
from vae_exp.training.loggers import refuse_elsewhere

PATIENCE = 2  # seconds until a person is told how far the checks have come


def start(
    cfg: DictConfig, overrides: list[Override], look: Callable[[DictConfig, list[Override]], None]
) -> int:
    """All jobs of a sweep and its summary; returns the exit code.

    cfg: composed from what is fixed. Every job is checked before the first one starts; raises
    UserError if one is wrong or the folder is taken. Jobs that ``look`` at finished runs are done
    here, one after the other, and have no folder.
    """
    for override in overrides:
        if override.key_or_group == "hydra.sweep.subdir":
            raise UserError("hydra.sweep.subdir is the number of a job, which cannot be changed")
        if override.key_or_group.startswith("hydra.callbacks"):
            raise UserError(f"{override.key_or_group} cannot be given: nothing calls it")
    jobs = splitting.jobs(cfg, overrides)
    plain = []
    looks = []
    for job, composed in zip(jobs, _checked(jobs), strict=True):
        if composing.trains(composed):
            if composed.data.get("validation_size") == 0:
                raise UserError(
                    "data.validation_size must be at least 1 in a sweep, whose settings are told "
                    "apart by the images that validate, got 0"
                )
            plain.append([_without_interpolation(override, composed) for override in job])
        else:
            looks.append(job)
    launching.refuse_missing_plugins(cfg)
    if looks:
        return _look_at_all(cfg, looks, overrides, look, mixed=bool(plain))
    for_hydra, others = _parted(_words(overrides))
    for_hydra = [word for word in for_hydra if not word.startswith("hydra.sweep.dir=")]
    planned = [_parted(words)[1] for words in plain]
    if launching.searches(cfg):
        swept = [each.input_line for each in composing.parse(others) if each.is_sweep_override()]
        plan = sweeps.Plan(None, [*planned[0], *map(str, swept)], for_hydra)
    else:
        plan = sweeps.Plan(planned, [], for_hydra)
    folder = Path(composing.resolved(cfg, "hydra.sweep.dir"))
    if any(override.key_or_group == "hydra.sweep.dir" for override in overrides):
        launching.refuse_if_used(folder)
        folders.make(folder, exist_ok=True)
    else:
        folder = folders.claim(folder)
    sweeps.write_plan(folder, plan)
    return launching.run(folder, plan, for_hydra)


def resume(overrides: list[Override]) -> int:
    """Go on with a sweep in its own folder: the jobs that are not finished, by its own overrides.

    Of its file only overrides of jobs are taken; words for Hydra are those that are given now.
    Returns the exit code.
    """
    others = [override for override in overrides if not override.is_hydra_override()]
    if any(
        override.key_or_group == "resume" and override.is_sweep_override() for override in others
    ):
        raise UserError("resume goes on with one sweep at a time: give one folder, or latest")
    folder = sweeps.find_unfinished(str(composing.resumed(others).resume))
    if folder is None:
        print("nothing to resume: every sweep in multirun is finished or under way")
        return 0
    plan = sweeps.read_plan(folder)
    for_hydra, _ = _parted(_words(overrides))
    for words in plan.jobs if plan.jobs is not None else [plan.fixed]:
        job = composing.parse_file(words, folder / sweeps.JOBS)
        if plan.jobs is None:
            job = [override for override in job if not override.is_sweep_override()]
        checked = composing.composed(job)
        composing.check(checked, job)
        refuse_elsewhere(composing.plain_config(checked), folder)
        if checked.task.get("output") is not None:  # a file of this machine, named by another
            raise UserError(f"{folder / sweeps.JOBS} holds a job that writes {checked.task.output}")
    place = launching.place(folder)
    given = composing.parse([*for_hydra, place])
    cfg = composing.composed([*given, *(job if plan.jobs is None else [])])
    launching.refuse_missing_plugins(cfg)
    if plan.jobs is None:
        search.refuse_if_lost(folder, composing.resolved(cfg, "hydra.sweeper"))
    numbers = [str(job.number) for job in sweeps.jobs(folder) if job.status in sweeps.TO_DO]
    if plan.jobs is not None and not numbers:
        print(f"nothing to resume: {folder} is finished or under way")
        return 0
    what = f"jobs {', '.join(numbers)}" if plan.jobs is not None else "the search goes on"
    print(f"resuming {folder}: {what}", flush=True)
    return launching.run(folder, sweeps.Plan(plan.jobs, plan.fixed, for_hydra), for_hydra)


def _checked(jobs: Sequence[list[Override]]) -> Iterator[DictConfig]:
    """The config of each job, valid until the next one is asked for.

    Composing takes far longer than checking, so jobs that differ in plain values alone, such as the
    seed, share one that is composed.
    """
    shared: dict[tuple[str, ...], DictConfig] = {}
    told = time.monotonic()
    for number, job in enumerate(jobs):
        if number == 1:  # before that, what the parts stand on was imported
            told = time.monotonic()
        if time.monotonic() - told > PATIENCE:
            told = time.monotonic()
            print(f"checked {number:,} of {len(jobs):,} jobs", file=sys.stderr, flush=True)
        values = [override for override in job if _is_plain(override)]
        others = [override for override in job if override not in values]
        kind = (*_words(others), *(override.key_or_group for override in values))
        if kind not in shared or not _set(shared[kind], values):
            shared[kind] = composing.composed(job)
            splitting.refuse_shared(shared[kind])
        composing.check(shared[kind], job)
        yield shared[kind]


def _is_plain(override: Override) -> bool:
    """Whether a word does nothing but give a key of a job another value."""
    key = override.key_or_group
    chooses = key in knobs.all_groups() or "/" in key or override.package is not None
    changes = override.is_add() or override.is_force_add() or override.is_delete()
    given = not override.is_hydra_override() and not isinstance(override.value(), dict)
    return given and not chooses and not changes


def _set(cfg: DictConfig, values: Iterable[Override]) -> bool:
    """Give a config other values; False if it does not take one."""
    try:
        with flag_override(cfg, "readonly", False):
            for override in values:
                OmegaConf.update(cfg, override.key_or_group, override.value())
    except OmegaConfBaseException:
        return False
    return True


def _without_interpolation(override: Override, cfg: DictConfig) -> str:
    """A word as it reads once what it takes from elsewhere, such as a variable, is put in.

    So a plan means the same on another day, and in another's hands.
    """
    word = str(override.input_line)
    given = override.value()
    if not (isinstance(given, str) and "${" in given) or override.is_hydra_override():
        return word
    value = composing.resolved(cfg, override.key_or_group)
    if isinstance(value, dict | list) or "${" in str(value):
        return word
    text = composing.quoted(value) if isinstance(value, str) else str(value)
    return f"{word.partition('=')[0]}={'null' if value is None else text}"


def _look_at_all(
    cfg: DictConfig,
    jobs: Sequence[list[Override]],
    overrides: Iterable[Override],
    look: Callable[[DictConfig, list[Override]], None],
    *,
    mixed: bool,
) -> int:
    """Put tasks to finished runs; one that is refused costs only itself. Returns the exit code."""
    if mixed:
        raise UserError("a sweep trains its jobs, or looks at finished runs: not both in one")
    if launching.searches(cfg):
        raise UserError(f"task={cfg.hydra.runtime.choices.task} trains nothing to search with")
    for override in overrides:
        if override.key_or_group.startswith(("hydra/launcher", "hydra.launcher", "hydra.sweep.")):
            raise UserError(
                f"{override.input_line} is for jobs that train: tasks on finished runs are done "
                "one after the other and have no folder"
            )
    refused = 0
    for job in jobs:
        print(f"{' '.join(_parted(_words(job))[1])}:", flush=True)
        try:
            look(composing.composed(job), job)
        except UserError as error:
            refused += 1
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return working.INCOMPLETE if refused else 0


def _words(overrides: Iterable[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    """Words for Hydra itself, and the others."""
    mine = [override.is_hydra_override() for override in composing.parse(words)]
    return (
        [word for word, hydras in zip(words, mine, strict=True) if hydras],
        [word for word, hydras in zip(words, mine, strict=True) if not hydras],
    )
