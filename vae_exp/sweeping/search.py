"""A search's study: what it must know of the jobs before it goes on, and the best that it found."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_exp.errors import UserError
from vae_exp.evaluation.intervals import ONE_SEED
from vae_exp.sweeping import sweeps
from vae_exp.sweeping.replicates import Setting, columns, validation_of
from vae_exp.sweeping.sweeps import Job


def refuse_if_lost(folder: Path, sweeper: Mapping[str, Any]) -> None:
    """Raise UserError if a study knows nothing of jobs that are finished: it would begin anew."""
    study = _study(sweeper)
    jobs = sweeps.jobs(folder)
    known = [job for _, job in _paired(study, jobs)]
    lost = [job for job in jobs if job.status == sweeps.FINISHED and job not in known]
    if lost:
        numbers = ", ".join(str(job.number) for job in lost)
        raise UserError(
            f"{sweeper['storage']} has no trial of the finished jobs {numbers} of {folder}: put "
            "the study back, or start a new search, which does not know what this one found"
        )


def repair(folder: Path, sweeper: Mapping[str, Any]) -> None:
    """Tell a study what became of the trials that a killed process left running."""
    from optuna.trial import TrialState

    study = _study(sweeper)
    for trial, job in _paired(study, sweeps.jobs(folder)):
        if trial.state == TrialState.RUNNING:
            if job is not None and job.status == sweeps.FINISHED:
                study.tell(trial.number, validation_of(job))
            else:
                study.tell(trial.number, state=TrialState.FAIL)


def best(folder: Path) -> tuple[str, list[str]] | None:
    """The highest val/elbo of a search's jobs, that job's test/elbo, and the words of that job.

    ± is 95 % over images, of one seed. The validation images chose the job, so its val/elbo is
    flattered by what it fits in them; the test images chose nothing.
    """
    found = [job for column in columns(sweeps.jobs(folder)) for job in column.best.runs.values()]
    if not found:
        return None
    job = max(found, key=validation_of)
    alone = Setting(job.setting, {job.seed: job})
    told = f"{alone.validation}, test/elbo {alone.test}"
    if ONE_SEED in told:
        told = told.replace(f" {ONE_SEED}", "") + " (± 95 % over images, of one seed)"
    return told, [word for word in job.overrides if sweeps.key_of(word) != "search"]


def hush() -> None:
    """Keep what Optuna stands on from telling a person about its own versions."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # Optuna 2 is of SQLAlchemy 1


def _study(sweeper: Mapping[str, Any]) -> Any:
    """The study that a sweeper's settings name; None if there is none."""
    hush()
    import optuna

    try:
        return optuna.load_study(study_name=sweeper["study_name"], storage=sweeper["storage"])
    except (KeyError, ValueError):  # as Optuna says that there is no such study, or no storage
        return None
    except Exception as error:  # of whatever library the storage takes
        line = sweeps.reason(error)
        raise UserError(f"{sweeper['storage']} cannot be read: {line}") from error


def _paired(study: Any, jobs: Sequence[Job]) -> list[tuple[Any, Job | None]]:
    """Each trial of a study with the job that was made of it, if there is one.

    Their numbers may differ: a killed process may have drawn trials that no job was made of.
    """
    left = list(jobs)
    pairs: list[tuple[Any, Job | None]] = []
    trials = study.trials if study is not None else []
    for trial in sorted(trials, key=lambda trial: not trial.state.is_finished()):
        words = {f"{key}={value}" for key, value in trial.params.items()}
        made = (job for job in left if words and words <= set(job.overrides))
        job = next(made, None)
        if job is not None:
            left.remove(job)
        pairs.append((trial, job))
    return pairs
