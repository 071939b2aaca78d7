"""What a launcher runs, in whatever process: one job of a sweep."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from vae_exp import folders, parts, surroundings
from vae_exp.atomic import write_atomically
from vae_exp.config.composing import plain_config
from vae_exp.errors import UserError
from vae_exp.sweeping import sweeps
from vae_exp.sweeping.replicates import validation_of

INCOMPLETE = 1  # exit code
POLL = 0.2  # seconds between two looks whether a worker's parent lives


def job(cfg: DictConfig, trusted: Sequence[str] = ()) -> float | None:
    """Run a job of a sweep, from its checkpoints if it has some; returns its val/elbo.

    What it raises is left in its folder, and raised again in one line that any process can read.
    A job that another process runs or has finished is left to it. ``trusted``: the modules that
    were named on the command line.
    """
    surroundings.settle()
    parts.trust(trusted)
    _end_with_parent()
    folder = Path(HydraConfig.get().runtime.output_dir)
    folders.make(folder / folders.LOCK.parent, exist_ok=True)
    with _held(folder):
        value = _found(folder)
        if value is not None:
            return value
        try:
            (folder / sweeps.ERROR).unlink(missing_ok=True)
            return _run(cfg, folder)
        except Exception as error:  # noqa: BLE001
            value = _found(folder)
            line = sweeps.reason(error) if value is not None else sweeps.record(folder, error)
    how = "failed" if value is None else "is finished, and then failed"
    print(f"job {folder.name} {how}: {line}", file=sys.stderr, flush=True)
    if value is None:
        raise UserError(line)
    return value


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a job, or say that another process has it."""
    try:
        with folders.hold(folder):
            yield
    except folders.Held:
        print(f"job {folder.name} is left to the process that runs it", file=sys.stderr, flush=True)
        raise


def _run(cfg: DictConfig, folder: Path) -> float | None:
    if (folder / folders.CHECKPOINTS).is_dir():
        from vae_exp.training import tasks

        return tasks.resume(folder)
    config_of = {
        folders.CONFIG: cfg,
        folders.HYDRA: HydraConfig.instance().cfg,
        folders.STARTED: HydraConfig.get().overrides.task,
    }  # as Hydra would have written before the job is held
    for name, node in config_of.items():
        write_atomically(folder, name, OmegaConf.to_yaml(node).encode())
    from vae_exp.training import tasks

    return tasks.execute(plain_config(cfg), folder)


def _found(folder: Path) -> float | None:
    """The val/elbo of a job that is finished, whose numbers are whole."""
    done = sweeps.read(folder)
    whole = done.status == sweeps.FINISHED and "validation" in done.metrics
    return validation_of(done) if whole else None


@cache
def _end_with_parent() -> None:
    """End this process, if it is a worker of joblib, as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        if os.getppid() != parent.pid:
            os._exit(INCOMPLETE)
        threading.Thread(target=_follow, args=(parent.pid,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(INCOMPLETE)
