"""Where runs lie: the names in a run's folder, and which run is meant; imports nothing heavy."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vae_exp.errors import UserError

ROOTS = ("outputs", "multirun")
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
CONFIG = Path(".hydra", "config.yaml")
HYDRA = Path(".hydra", "hydra.yaml")
STARTED = Path(".hydra", "overrides.yaml")  # written after the config: where it is, that is whole
LOCK = Path(".hydra", "lock")
METRICS_LOCK = Path(".hydra", "metrics.lock")
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
EVENTS = "events.out.tfevents.*"
UNFINISHED = ".tmp"


class Held(UserError):
    """Another process has the lock."""


def find(spec: str) -> Path:
    """The folder or checkpoint that ``latest`` or a path names.

    ``latest`` is the newest run below ``outputs`` with saved weights; a sweep's job, if there is no
    such run. Raises UserError if there is none.
    """
    if spec != "latest":
        path = Path(spec)
        if os.path.isfile(path) or os.path.isfile(path / CONFIG):
            return path
        raise UserError(
            f"run must be latest, a run's folder or a checkpoint, got {spec!r}, which "
            + ("is not a run's folder" if os.path.exists(path) else "does not exist")
        )
    for root in ROOTS:
        if found := list(Path(root).glob(f"**/{WEIGHTS}")):
            return max(found, key=lambda path: path.stat().st_mtime_ns).parent
    raise UserError("run=latest found no finished run in outputs or multirun: train one first")


def find_started(spec: str) -> Path | None:
    """The run to go on with: a folder, or ``latest``, the newest neither finished nor under way.

    None where ``latest`` finds none such. Raises UserError where there is no run at all.
    """
    if spec != "latest":
        if not os.path.isfile(Path(spec) / CONFIG):
            raise UserError(
                f"resume must be latest or a run's folder, got {spec!r}, which "
                + ("is not a run's folder" if os.path.exists(spec) else "does not exist")
            )
        return Path(spec)
    started = [path for root in ROOTS for path in Path(root).glob(f"**/{STARTED}")]
    if not started:
        raise UserError("resume=latest found no run in outputs or multirun: start one first")
    newest_first = sorted(started, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for folder in (path.parent.parent for path in newest_first):
        if not is_finished(folder) and not is_held(folder):
            return folder
    return None


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end: its weights are the last that it saves."""
    return os.path.isfile(folder / WEIGHTS)


def refuse_if_used(folder: Path) -> None:
    """Raise UserError where a new run would overwrite another one."""
    if is_finished(folder) or os.path.isdir(folder / CHECKPOINTS):
        raise UserError(
            f"{folder} holds a run already: go on with it by resume={folder}, or take another"
        )


def claim(folder: Path) -> Path:
    """Create and return `folder`, or the first of `folder-1`, `folder-2`, ... that is free.

    No two processes are given the same one. Raises UserError where it cannot be created.
    """
    for number in itertools.count():
        mine = folder.with_name(f"{folder.name}-{number}") if number else folder
        try:
            make(mine)
        except FileExistsError:
            continue
        break
    return mine


def make(folder: Path, exist_ok: bool = False) -> None:
    """Create a folder and its parents; raises UserError naming it where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if os.path.isdir(folder):
            raise
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep a run to this process and its helpers; raises Held if another is writing it."""
    if is_helper():
        yield
        return
    with locked(folder, LOCK, f"{folder} is being written by another process"):
        yield


def is_held(folder: Path) -> bool:
    """Whether a process is writing a run."""
    return is_locked(folder / LOCK)


@contextmanager
def locked(folder: Path, name: str | Path, taken: str) -> Iterator[None]:
    """Hold a lock in a folder; raises Held, saying ``taken``, if another process has it."""
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Held(taken) from None
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock."""
    if not os.path.lexists(path):
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written is held by nobody
        return False


def is_helper() -> bool:
    """Whether Lightning started this process to share a run's work, whose files are not its own."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def sweep_out(folder: Path) -> None:
    """Remove files that a killed process left half-written."""
    if is_helper():
        return
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def shown(folder: Path) -> str:
    """A folder as a person would type it: from here, where it lies below."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
