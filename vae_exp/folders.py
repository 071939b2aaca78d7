"""Where runs lie: the names in a run's folder, and which run is meant; imports nothing heavy."""

import errno
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from vae_exp.errors import UserError

SWEEPS = "multirun"
ROOTS = ("outputs", SWEEPS)
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
REPORT = "report.html"
CONFIG = Path(".hydra", "config.yaml")
HYDRA = Path(".hydra", "hydra.yaml")
STARTED = Path(".hydra", "overrides.yaml")  # written after the config: where it is, that is whole
LOCK = Path(".hydra", "lock")
METRICS_LOCK = Path(".hydra", "metrics.lock")
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
EVENTS = "events.out.tfevents.*"
UNFINISHED = ".tmp"
NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}  # of a file system that has none
SWEEP = "jobs.yaml"  # makes a folder a sweep's; its jobs lie in folders below
SWEEP_LOCK = Path(".lock")
PATIENCE = 0.2  # seconds: another process that only asks who has a lock has it for less


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


def find_sweep(spec: str) -> Path:
    """The sweep's folder that ``latest`` or a path names; raises UserError if there is none."""
    if spec == "latest":
        found = sweeps_started()
        if not found:
            raise UserError(f"sweep=latest found no sweep in {SWEEPS}: start one first")
        return found[0]
    folder = Path(spec)
    if os.path.isfile(folder / SWEEP):
        return folder
    raise UserError(
        f"sweep must be latest or a sweep's folder, got {spec!r}, which "
        + (f"holds no {SWEEP}" if os.path.exists(spec) else "does not exist")
    )


def sweeps_started() -> list[Path]:
    """The folders of all sweeps, the newest first."""
    plans = list(Path(SWEEPS).glob(f"**/{SWEEP}"))
    newest_first = sorted(plans, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [path.parent for path in newest_first]


@contextmanager
def hold_unfinished(spec: str) -> Iterator[Path | None]:
    """Hold the run to go on with: a folder, or ``latest``, the newest that is free.

    None if the run named is finished, or if every run is finished or under way. Raises UserError
    if there is no run at all, or if another process has the one named.
    """
    if spec != "latest" and not os.path.isfile(Path(spec) / CONFIG):
        raise UserError(
            f"resume must be latest or a run's folder, got {spec!r}, which "
            + ("is not a run's folder" if os.path.exists(spec) else "does not exist")
        )
    with ExitStack() as stack:
        for folder in _newest_first() if spec == "latest" else [Path(spec)]:
            if is_finished(folder):
                continue
            try:
                stack.enter_context(hold(folder))
            except Held:
                if spec != "latest":
                    raise
                continue
            if not is_finished(folder):  # another process may have come to its end just now
                break
            stack.close()
        else:
            folder = None
        yield folder


def _newest_first() -> Iterator[Path]:
    """Every run that was started, but for the jobs of a sweep that is under way."""
    started = [path for root in ROOTS for path in Path(root).glob(f"**/{STARTED}")]
    if not started:
        raise UserError("resume=latest found no run in outputs or multirun: start one first")
    newest_first = sorted(started, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for folder in (path.parent.parent for path in newest_first):
        sweep = folder.parent
        if not (os.path.isfile(sweep / SWEEP) and is_locked(sweep / SWEEP_LOCK)):
            yield folder


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end: its weights are the last that it saves."""
    return os.path.isfile(folder / WEIGHTS)


def refuse_if_used(folder: Path) -> None:
    """Raise UserError if a new run would overwrite another one."""
    if is_finished(folder) or os.path.isdir(folder / CHECKPOINTS):
        raise UserError(
            f"{folder} holds a run already: go on with it by resume={folder}, or take another"
        )


def refuse_if_not_empty(key: str, folder: Path) -> None:
    """Raise UserError if a folder, which ``key`` names, holds anything already."""
    try:
        found = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{key} must be a folder, got {folder}: {error.strerror}") from error
    refuse_if_used(folder)
    if found:
        started = os.path.isfile(folder / STARTED)
        raise UserError(
            f"{key} must be a new or an empty folder, got {folder}, which holds {found[0]}"
            + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            + (f"; resume={folder} goes on with the run in it" if started else "")
        )


def claim(folder: Path) -> Path:
    """Create and return `folder`, or the first of `folder-1`, `folder-2`, ... that is free.

    No two processes are given the same one. Raises UserError if it cannot be created.
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
    """Create a folder and its parents; raises UserError naming it if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if os.path.isdir(folder):
            raise
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error


def within(folder: Path, name: str | Path) -> Path:
    """The path of what is written in a folder.

    Raises UserError if a link, or the name itself, leads out of it.
    """
    path = folder / name
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(folder)):
        raise UserError(
            f"{path} leads to {real}, out of {folder}, and nothing is written there: "
            "remove the link, or choose another name"
        )
    return path


def refuse_links(folder: Path) -> None:
    """Raise UserError if anything in a folder is a link that leads out of it."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            within(folder, path.relative_to(folder))


def hold(folder: Path) -> AbstractContextManager[None]:
    """Keep a run to this process and its helpers; raises Held if another is writing it."""
    return locked(folder, LOCK, f"{folder} is being written by another process")


def is_held(folder: Path) -> bool:
    """Whether a process is writing a run."""
    return is_locked(folder / LOCK)


@contextmanager
def locked(
    folder: Path, name: str | Path, taken: str, patience: float = PATIENCE
) -> Iterator[None]:
    """Hold a lock in a folder; raises Held, saying ``taken``, if another process has it.

    It is waited for up to ``patience`` seconds. If the file system has no locks, there is none.
    """
    # filelock's own way out takes a file that a killed process left behind for a lock that is held.
    lock = FileLock(within(folder, name), fallback_to_soft=False)
    try:
        lock.acquire(timeout=patience, poll_interval=PATIENCE / 20)
    except Timeout:
        raise Held(taken) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"cannot write in {folder}: {error.strerror}") from error
        _warn_of_no_locks(folder.resolve(), str(error.strerror))
    try:
        yield
    finally:
        lock.release()


@cache
def _warn_of_no_locks(folder: Path, reason: str) -> None:
    """Once for each folder: it also has other locks."""
    print(
        f"{shown(folder)} lies on a file system without locks ({reason}): "
        "let no other process write there",
        file=sys.stderr,
    )


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock."""
    if not os.path.lexists(path):
        return False
    try:
        with FileLock(path, timeout=0, fallback_to_soft=False):
            return False
    except Timeout:
        return True
    except OSError:  # what cannot be written or has no locks is held by nobody
        return False


def sweep_out(folder: Path) -> None:
    """Remove files that a killed process left half-written."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def shown(folder: Path) -> str:
    """A folder as a person would type it: from here, where it lies below."""
    try:
        return str(folder.relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):  # it lies elsewhere, or the working folder is gone
        return str(folder)
