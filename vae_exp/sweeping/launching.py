"""Run a sweep's jobs by Hydra's launchers, in one process, several, or on several machines."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, flag_override

from vae_exp import folders, parts
from vae_exp.atomic import write_atomically
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.shell import command, install
from vae_exp.sweeping import sweeps
from vae_exp.sweeping.search import best, hush, repair
from vae_exp.sweeping.working import INCOMPLETE, job
from vae_exp.training.interrupts import Interrupted

EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "submitit",
    "hydra_ray_launcher": "ray",
    "hydra_optuna_sweeper": "optuna",
}  # package of a plugin -> extra of ours that brings it


class SweepInterrupted(Interrupted):
    """A signal stopped a sweep; `words` make what is missing."""

    def __init__(self, signum: int, folder: Path, words: tuple[str, ...] = ()):
        super().__init__(signum, folder)
        self.words = words

    def __str__(self) -> str:
        return f"{self.stopped}; to go on: {command(*self.words)}"


def how_to_resume(folder: Path, plan: sweeps.Plan) -> tuple[str, ...]:
    """The words that go on with a sweep, on the launcher that it was started on."""
    return ("-m", f"resume={folders.shown(folder)}", *plan.hydra)


def refuse_missing_plugins(cfg: DictConfig) -> None:
    """Raise UserError if a launcher or a sweeper is not installed."""
    for part in ("launcher", "sweeper"):
        target = str(OmegaConf.select(cfg, f"hydra.{part}._target_"))
        package = ".".join(target.split(".")[:2])
        if package.startswith("hydra_plugins.") and not _is_installed(package):
            choice = cfg.hydra.runtime.choices.get(f"hydra/{part}")
            extra = EXTRAS.get(package.partition(".")[2])
            hint = f": {install(f'vae-exp[{extra}]')}" if extra else ""
            raise UserError(f"hydra/{part}={choice} needs {package}, which is missing{hint}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def searches(cfg: DictConfig) -> bool:
    """Whether the sweeper draws the jobs itself, so that they are not known beforehand."""
    return not str(cfg.hydra.sweeper._target_).endswith(".BasicSweeper")


def refuse_if_used(folder: Path) -> None:
    """Raise UserError if a new sweep would overwrite another's jobs."""
    if (folder / sweeps.JOBS).exists():
        raise UserError(
            f"{folder} holds a sweep already: go on with it by -m resume={folder}, or take another"
        )
    folders.refuse_if_not_empty("hydra.sweep.dir", folder)


def run(folder: Path, plan: sweeps.Plan, words: Sequence[str]) -> int:
    """All jobs of a plan that are not finished, and the summary, whatever becomes of them.

    words: for Hydra itself, such as a launcher. Returns the exit code. Raises SweepInterrupted
    if a signal stopped it, after naming what was not started.
    """
    folders.refuse_links(folder)  # Hydra's own files and a study's are written there too
    # A job puts its config down itself, once it holds its folder.
    words = [*words, place(folder), "hydra.output_subdir=null", *plan.fixed]
    with sweeps.hold(folder):
        try:
            problem = _launch(folder, plan, words)
            if problem:
                print(f"error: {problem}", file=sys.stderr)
            complete = _name_what_is_missing(folder, plan, thorough=True)
        except Interrupted as stop:
            complete = _name_what_is_missing(folder, plan, thorough=False)
            again = ("task=summarise", f"sweep={folders.shown(folder)}")
            missing = again if complete else how_to_resume(folder, plan)
            raise SweepInterrupted(stop.signum, folder, missing) from None
    if plan.jobs is None:
        _print_best(folder)
    return 0 if complete and not problem else INCOMPLETE


def place(folder: Path) -> str:
    """The word that lets a sweep have its folder."""
    return f"hydra.sweep.dir={composing.quoted(str(folder.resolve()))}"


def _launch(folder: Path, plan: sweeps.Plan, words: Sequence[str]) -> str:
    """Run the jobs; returns what went wrong outside of them, in a line."""
    (folder / sweeps.ERROR).unlink(missing_ok=True)
    known = sweeps.jobs(folder)
    try:
        with _hydra(words) as (cfg, context):
            if plan.jobs is None:
                _go_on(cfg, context, folder, known, plan.fixed)
                _search(cfg, context, plan.fixed, start=known[-1].number + 1 if known else 0)
            else:
                planned = dict(enumerate(plan.jobs))
                numbers = [job.number for job in known if job.status in sweeps.TO_DO]
                _batches(cfg, context, folder, planned, numbers)
    except Exception as error:  # noqa: BLE001
        line = sweeps.record(folder, error)
        if (folder / sweeps.ERROR).is_file():
            line += f"; {folders.shown(folder / sweeps.ERROR)} says where"
        return line
    return ""


@contextlib.contextmanager
def _hydra(words: Sequence[str]) -> Iterator[tuple[DictConfig, HydraContext]]:
    """The config and the context of launchers and sweepers, whose log is set up."""
    given = composing.parse(words)
    fixed = [str(word.input_line) for word in given if not word.is_sweep_override()]
    with composing.initialized():
        cfg = compose("config", [*fixed, "hydra.mode=MULTIRUN"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
        yield cfg, composing.context()


def _task() -> TaskFunction:
    """What a launcher runs, in whatever process, with the modules that were named to this one."""
    return partial(job, trusted=parts.trusted())


def _batches(
    cfg: DictConfig,
    context: HydraContext,
    folder: Path,
    planned: Mapping[int, Sequence[str]],
    numbers: list[int],
) -> None:
    """Launch jobs under their own numbers; one that fails takes no batch after it along."""
    _save_config(folder, cfg)
    size = cfg.hydra.sweeper.get("max_batch_size") or len(numbers)
    if numbers and numbers != list(range(numbers[0], numbers[-1] + 1)) and _is_serial(cfg):
        size = 1  # a launcher counts on from the first number of a batch in what it prints
    for first in range(0, len(numbers), size or 1):
        batch = numbers[first : first + size]
        words = [[*planned[number], f"hydra.sweep.subdir='{number}'"] for number in batch]
        launcher = Plugins.instance().instantiate_launcher(
            config=cfg, hydra_context=context, task_function=_task()
        )
        launcher.launch(words, initial_job_idx=batch[0])


def _save_config(folder: Path, cfg: DictConfig) -> None:
    write_atomically(folder, "multirun.yaml", OmegaConf.to_yaml(cfg).encode())


def _is_serial(cfg: DictConfig) -> bool:
    return str(cfg.hydra.launcher._target_).endswith(".BasicLauncher")


def _go_on(
    cfg: DictConfig,
    context: HydraContext,
    folder: Path,
    known: list[sweeps.Job],
    words: Sequence[str],
) -> None:
    """Finish the jobs of a search that were cut off, and tell the study of them."""
    if not known:
        return
    numbers = [
        job.number
        for job in known
        if job.status == sweeps.CUT_OFF and (job.folder / folders.CHECKPOINTS).is_dir()
    ]
    given = composing.parse(words)
    fixed = [str(word.input_line) for word in given if not word.is_sweep_override()]
    # What the search drew for a job lies in the job's own config, by which it goes on.
    _batches(cfg, context, folder, dict.fromkeys(numbers, fixed), numbers)
    repair(folder, composing.resolved(cfg, "hydra.sweeper"))


def _search(cfg: DictConfig, context: HydraContext, words: Sequence[str], start: int) -> None:
    """Hydra's sweeper draws the jobs; those of a study that goes on are numbered after its last."""
    hush()
    if start and "seed" in (cfg.hydra.sweeper.get("sampler") or {}):
        with flag_override(cfg.hydra, "readonly", False):
            cfg.hydra.sweeper.sampler.seed = start  # else it draws its first trials again
    sweeper: Any = Plugins.instance().instantiate_sweeper(
        config=cfg, hydra_context=context, task_function=_task()
    )
    if start:
        sweeper.sweeper.job_idx = start
    sweeper.sweeper.launcher = _OnlyJobs(sweeper.sweeper.launcher, str(cfg.hydra.sweep.dir))
    _save_config(Path(cfg.hydra.sweep.dir), cfg)
    sweeper.sweep(arguments=list(words))


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
        """Launch jobs; raises UserError if one holds words for Hydra itself."""
        for words in job_overrides:
            composing.parse_file(words, f"the study in {self.place}")
        return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)


def _name_what_is_missing(folder: Path, plan: sweeps.Plan, *, thorough: bool) -> bool:
    """The summary, and the jobs that never started; returns whether every job is finished."""
    from vae_exp.sweeping.summary import summarise

    jobs = sweeps.jobs(folder)
    try:
        summarise(folder, thorough=thorough, resume=how_to_resume(folder, plan))
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; no summary", file=sys.stderr)
    for each in jobs:
        if each.status == sweeps.NOT_STARTED:
            print(f"not started: {' '.join(each.overrides)}", file=sys.stderr)
    return all(each.status == sweeps.FINISHED for each in jobs)


def _print_best(folder: Path) -> None:
    """The command that trains with the best settings that a search has found."""
    found = best(folder)
    if found is not None:
        value, words = found
        print(f"best val/elbo {value}, by: {command(*words)}")
