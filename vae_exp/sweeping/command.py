"""`python -m vae_exp -m ...`: check every job of a sweep, give it a folder, start it or go on."""

from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from vae_exp import config, folders
from vae_exp.errors import UserError
from vae_exp.sweeping import launching, strangers, sweeps


def start(cfg: DictConfig, overrides: list[Override]) -> int:
    """All jobs of a sweep and its summary; returns the exit code.

    cfg: composed from what is fixed. Every job is checked before the first one starts; raises
    UserError where one is wrong or the folder is taken.
    """
    for override in overrides:
        if override.key_or_group == "hydra.sweep.subdir":
            raise UserError("hydra.sweep.subdir is the number of a job, which cannot be changed")
    jobs = config.jobs(cfg, overrides)
    for job in jobs:
        config.check(config.composed(job), job)
    launching.refuse_missing_plugins(cfg)
    own = [word for word in _words(overrides) if not word.startswith("hydra.sweep.dir=")]
    for_hydra, others = _parted(own)
    planned = None if launching.searches(cfg) else [_parted(_words(job))[1] for job in jobs]
    plan = sweeps.Plan(planned, others if planned is None else [], for_hydra)
    folder = Path(config.resolved(cfg, "hydra.sweep.dir"))
    if any(override.key_or_group == "hydra.sweep.dir" for override in overrides):
        launching.refuse_if_used(folder, len(jobs))
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
    folder = sweeps.find_unfinished(config.resumed(config.composed(others), others))
    if folder is None:
        print("nothing to resume: every sweep in multirun is finished or under way")
        return 0
    plan = sweeps.read_plan(folder)
    for_hydra, _ = _parted(_words(overrides))
    for planned in plan.jobs if plan.jobs is not None else [plan.fixed]:
        job = strangers.of_a_job(planned, folder / sweeps.JOBS)
        if plan.jobs is None:
            job = [override for override in job if not override.is_sweep_override()]
        checked = config.composed(job)
        config.check(checked, job)
        if checked.task.get("output") is not None:  # a file of this machine, named by another
            raise UserError(f"{folder / sweeps.JOBS} holds a job that writes {checked.task.output}")
    cfg = config.composed([*config.parse(for_hydra), *(job if plan.jobs is None else [])])
    launching.refuse_missing_plugins(cfg)
    numbers = [str(job.number) for job in sweeps.jobs(folder) if job.status in sweeps.TO_DO]
    if plan.jobs is not None and not numbers:
        print(f"nothing to resume: {folder} is finished or under way")
        return 0
    what = f"jobs {', '.join(numbers)}" if plan.jobs is not None else "the search goes on"
    print(f"resuming {folder}: {what}", flush=True)
    return launching.run(folder, sweeps.Plan(plan.jobs, plan.fixed, for_hydra), for_hydra)


def _words(overrides: list[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    """Words for Hydra itself, and the others."""
    mine = [override.is_hydra_override() for override in config.parse(words)]
    return (
        [word for word, hydras in zip(words, mine, strict=True) if hydras],
        [word for word, hydras in zip(words, mine, strict=True) if not hydras],
    )
