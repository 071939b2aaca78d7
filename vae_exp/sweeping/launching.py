"""Run a sweep's jobs by Hydra's launchers, in one process, several, or on several machines."""

import contextlib
import importlib.util
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from vae_exp import config, folders, plain
from vae_exp.errors import UserError
from vae_exp.interrupts import Interrupted
from vae_exp.sweeping import strangers, sweeps

INCOMPLETE = 1
EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "submitit",
    "hydra_ray_launcher": "ray",
    "hydra_optuna_sweeper": "optuna",
}  # package of a plugin -> extra of ours that brings it
RESULTS = "optimization_results.yaml"  # of Hydra's Optuna sweeper


class SweepInterrupted(Interrupted):
    """A signal stopped a sweep, which can go on by `words`."""

    def __init__(self, signum: int, folder: Path, words: tuple[str, ...] = ()):
        super().__init__(signum, folder)
        self.words = words

    def __str__(self) -> str:
        return f"{self.stopped}; to go on: {command(*self.words)}"


def command(*words: str) -> str:
    """The command line with these words, as it can be typed into a shell."""
    return shlex.join(["python", "-m", "vae_exp", *words])


def how_to_resume(folder: Path, plan: sweeps.Plan) -> tuple[str, ...]:
    """The words that go on with a sweep, on the launcher that it was started on."""
    return ("-m", f"resume={folders.shown(folder)}", *plan.hydra)


def job(cfg: DictConfig) -> float | None:
    """What a launcher runs, in whatever process: a job, from its checkpoints where it has some.

    What it raises is left in its folder, and raised again in one line that any process can read.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / sweeps.ERROR).unlink(missing_ok=True)
    try:
        from vae_exp import tasks

        if (folder / folders.CHECKPOINTS).is_dir():
            result: float | None = tasks.resume(folder)
        else:
            result = tasks.execute(cfg)
        if not folders.is_finished(folder):
            (folder / sweeps.DONE).touch()
        return result
    except Exception as error:  # noqa: BLE001
        line = sweeps.record(folder, error)
    print(f"job {folder.name} failed: {line}", file=sys.stderr, flush=True)
    raise UserError(line)


def refuse_missing_plugins(cfg: DictConfig) -> None:
    """Raise UserError where a launcher or a sweeper is not installed."""
    for part in ("launcher", "sweeper"):
        target = str(OmegaConf.select(cfg, f"hydra.{part}._target_"))
        package = ".".join(target.split(".")[:2])
        if package.startswith("hydra_plugins.") and not _is_installed(package):
            choice = cfg.hydra.runtime.choices.get(f"hydra/{part}")
            extra = EXTRAS.get(package.partition(".")[2])
            hint = f": pip install 'vae-exp[{extra}]'" if extra else ""
            raise UserError(f"hydra/{part}={choice} needs {package}, which is missing{hint}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def searches(cfg: DictConfig) -> bool:
    """Whether the sweeper draws the jobs itself, so that they are not known beforehand."""
    return not str(cfg.hydra.sweeper._target_).endswith(".BasicSweeper")


def refuse_if_used(folder: Path, count: int) -> None:
    """Raise UserError where a new sweep would overwrite another's jobs."""
    if (folder / sweeps.JOBS).exists():
        raise UserError(
            f"{folder} holds a sweep already: go on with it by -m resume={folder}, or take another"
        )
    for number in range(count):
        folders.refuse_if_used(folder / str(number))


def run(folder: Path, plan: sweeps.Plan, words: Sequence[str]) -> int:
    """All jobs of a plan that are not finished, and the summary, whatever becomes of them.

    words: for Hydra itself, such as a launcher. Returns the exit code. Raises SweepInterrupted
    where a signal stopped it, after naming what was not started.
    """
    place = f"hydra.sweep.dir={config.quoted(str(folder.resolve()))}"
    words = [*words, place, *plan.fixed]
    numbers = [job.number for job in sweeps.jobs(folder) if job.status in sweeps.TO_DO]
    with sweeps.hold(folder):
        try:
            problem = _launch(folder, plan, words, numbers)
        except Interrupted as stop:
            _name_what_is_missing(folder, plan, thorough=False)
            raise SweepInterrupted(stop.signum, folder, how_to_resume(folder, plan)) from None
        if problem:
            print(f"error: {problem}", file=sys.stderr)
        complete = _name_what_is_missing(folder, plan, thorough=True)
    if plan.jobs is None:
        _print_best(folder, plan)
    return 0 if complete and not problem else INCOMPLETE


def _launch(folder: Path, plan: sweeps.Plan, words: Sequence[str], numbers: list[int]) -> str:
    """Run the jobs; returns what went wrong outside of them, in a line."""
    (folder / sweeps.ERROR).unlink(missing_ok=True)
    try:
        with _hydra(words) as (cfg, context):
            if plan.jobs is None:
                known = sweeps.jobs(folder)
                _search(cfg, context, start=known[-1].number + 1 if known else 0)
            else:
                _batches(cfg, context, folder, plan.jobs, numbers)
    except Exception as error:  # noqa: BLE001
        line = sweeps.record(folder, error)
        return f"{line}; {folders.shown(folder / sweeps.ERROR)} says where"
    return ""


@contextlib.contextmanager
def _hydra(words: Sequence[str]) -> Iterator[tuple[DictConfig, HydraContext]]:
    """Hydra, as its own command line sets it up for a multirun."""
    from hydra._internal.callbacks import Callbacks

    with config.initialized():
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        cfg = hydra.compose_config(
            "config", list(words), run_mode=RunMode.MULTIRUN, with_log_configuration=True
        )
        callbacks = Callbacks(cfg)
        callbacks.on_multirun_start(config=cfg, config_name="config")
        try:
            yield cfg, HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
        finally:
            callbacks.on_multirun_end(config=cfg, config_name="config")


def _batches(
    cfg: DictConfig,
    context: HydraContext,
    folder: Path,
    planned: list[list[str]],
    numbers: list[int],
) -> None:
    """Launch jobs under their own numbers; one that fails takes no batch after it along."""
    OmegaConf.save(cfg, folder / "multirun.yaml")
    size = cfg.hydra.sweeper.get("max_batch_size") or len(numbers)
    if numbers and numbers != list(range(numbers[0], numbers[-1] + 1)) and _is_serial(cfg):
        size = 1  # a launcher counts on from the first number of a batch in what it prints
    for first in range(0, len(numbers), size or 1):
        batch = numbers[first : first + size]
        words = []
        for number in batch:
            own = [f"hydra.sweep.subdir='{number}'"]
            if (folder / str(number) / folders.CHECKPOINTS).is_dir():
                own.append("hydra.output_subdir=null")  # it goes on by the config that it has
            words.append([*planned[number], *own])
        launcher = Plugins.instance().instantiate_launcher(
            config=cfg, hydra_context=context, task_function=job
        )
        launcher.launch(words, initial_job_idx=batch[0])


def _is_serial(cfg: DictConfig) -> bool:
    return str(cfg.hydra.launcher._target_).endswith(".BasicLauncher")


def _search(cfg: DictConfig, context: HydraContext, start: int) -> None:
    """Hydra's sweeper draws the jobs; those of a study that goes on are numbered after its last."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # Optuna 2 is of SQLAlchemy 1
    if start and "seed" in (cfg.hydra.sweeper.get("sampler") or {}):
        cfg.hydra.sweeper.sampler.seed = start  # else the sampler draws its first trials again
    sweeper: Any = Plugins.instance().instantiate_sweeper(
        config=cfg, hydra_context=context, task_function=job
    )
    if start:
        sweeper.sweeper.job_idx = start
    sweeper.sweeper.launcher = _OnlyJobs(sweeper.sweeper.launcher, str(cfg.hydra.sweep.dir))
    OmegaConf.save(cfg, Path(cfg.hydra.sweep.dir) / "multirun.yaml")
    sweeper.sweep(arguments=OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False))


class _OnlyJobs:
    """A launcher that takes nothing from a search but what a job may set.

    A study may be anybody's, and the sweeper takes each key that a trial in it holds.
    """

    def __init__(self, launcher: Launcher, place: str):
        self.launcher = launcher
        self.place = place

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launch jobs; raises UserError where one holds words for Hydra itself."""
        for drawn in job_overrides:
            strangers.of_a_job(drawn, f"the study in {self.place}")
        return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)


def _name_what_is_missing(folder: Path, plan: sweeps.Plan, *, thorough: bool) -> bool:
    """The summary, and the jobs that never started; returns whether every job is finished."""
    jobs = sweeps.jobs(folder)
    from vae_exp.sweeping.summary import summarise

    try:
        summarise(folder, thorough=thorough, resume=how_to_resume(folder, plan))
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; no summary", file=sys.stderr)
    for each in jobs:
        if each.status == sweeps.NOT_STARTED:
            print(f"not started: {' '.join(each.overrides)}", file=sys.stderr)
    return all(each.status == sweeps.FINISHED for each in jobs)


def _print_best(folder: Path, plan: sweeps.Plan) -> None:
    """The command that trains with the best settings that a search has found."""
    path = folder / RESULTS
    if not path.is_file():
        return
    found = plain.read(path, dict)
    params, best = found.get("best_params"), found.get("best_value")
    if not isinstance(params, dict) or not isinstance(best, int | float):
        raise UserError(f"{path} names no best job")
    given = [word for word in plan.fixed if sweeps.key_of(word) not in {*params, "search"}]
    best_job = [*(f"{key}={value}" for key, value in params.items()), *given]
    strangers.of_a_job(best_job, path)
    print(f"best val/elbo {best:.2f}, by: {command(*best_job)}")
