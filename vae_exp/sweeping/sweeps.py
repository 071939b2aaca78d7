"""What a sweep's folder holds: its jobs, how each of them ended, and their numbers."""

import os
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NotRequired

import yaml  # type: ignore[import-untyped]
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from vae_exp import files, folders
from vae_exp.atomic import write_atomically
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.runs import plain
from vae_exp.runs.metrics import read_metrics
from vae_exp.schema import SCHEMA, check_schema

JOBS = folders.SWEEP  # every job's overrides, written before the first one starts
LARGEST_PLAN = 8_000_000  # bytes: a hundred thousand jobs
LOCK = folders.SWEEP_LOCK
ERROR = "error.txt"  # of a job that failed: what was raised, and why in its last line
STUDY = "study.db"  # of a search, in SQLite
FINISHED, FAILED, CUT_OFF, NOT_STARTED = "finished", "failed", "cut off", "not started"
UNDER_WAY = "under way"
TO_DO = (FAILED, CUT_OFF, NOT_STARTED)


class _Plan(TypedDict):
    """What jobs.yaml holds."""

    schema: NotRequired[int | None]
    jobs: list[list[str]] | None
    fixed: list[str]
    hydra: list[str]


_OBJECT = TypeAdapter(dict[str, Any])
_PLAN = TypeAdapter(_Plan)


@dataclass(frozen=True)
class Plan:
    """What a sweep was asked to do; ``jobs`` is None for a search, which draws its own.

    ``fixed`` are a search's overrides and ``hydra`` the words for Hydra itself, such as a launcher.
    """

    jobs: list[list[str]] | None
    fixed: list[str] = field(default_factory=list)
    hydra: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its number, its overrides, how it ended and what it found."""

    number: int
    folder: Path
    overrides: tuple[str, ...]
    status: str
    metrics: dict[str, Any]
    error: str = ""

    @property
    def setting(self) -> tuple[str, ...]:
        """The overrides that runs of several seeds have in common."""
        return tuple(word for word in self.overrides if key_of(word) != "seed")

    @property
    def seed(self) -> int:
        """The seed that a finished run has recorded."""
        return int(self.metrics["run"]["seed"])


def key_of(word: str) -> str:
    """The key of an override, such as ``lr`` of ``lr=0.01``."""
    return _parts(word)[0]


def value_of(word: str) -> str:
    """The value of an override, as text without quotes."""
    return _parts(word)[1]


@cache
def _parts(word: str) -> tuple[str, str]:
    try:
        [override] = composing.parse([word])
    except UserError:  # a folder from elsewhere may hold anything
        key, _, text = word.partition("=")
        return key.lstrip("+~"), text
    value = override.value()
    if override.is_delete() or override.is_sweep_override() or isinstance(value, str):
        return override.key_or_group, value if isinstance(value, str) else word.partition("=")[2]
    return override.key_or_group, override.get_value_element_as_str()


def find_unfinished(spec: str) -> Path | None:
    """The sweep to go on with: a folder, or the newest neither finished nor under way."""
    if spec != "latest":
        try:
            return folders.find_sweep(spec)
        except UserError as error:
            raise UserError("resume with -m: " + str(error)) from None
    if not folders.sweeps_started():
        raise UserError(f"resume=latest found no sweep in {folders.SWEEPS}: start one first")
    for folder in folders.sweeps_started():
        plan = read_plan(folder)
        done = plan.jobs is not None and all(job.status == FINISHED for job in jobs(folder))
        if not done and not is_held(folder):
            return folder
    return None


def hold(folder: Path) -> AbstractContextManager[None]:
    """Keep a sweep to this process; raises UserError if another one runs it."""
    return folders.locked(folder, LOCK, f"{folder} is a sweep that another process runs")


def is_held(folder: Path) -> bool:
    """Whether a process runs a sweep."""
    return folders.is_locked(folder / LOCK)


def write_plan(folder: Path, plan: Plan) -> None:
    """Put down what a sweep is to do, so that jobs which never start are known too."""
    contents = {"schema": SCHEMA, "hydra": plan.hydra, "fixed": plan.fixed, "jobs": plan.jobs}
    text = yaml.safe_dump(contents, sort_keys=False, allow_unicode=True, width=1000)
    write_atomically(folder, JOBS, text.encode())


def read_plan(folder: Path) -> Plan:
    """What a sweep was asked to do; raises UserError if its file is damaged."""
    path = folder / JOBS
    contents = plain.read(path, dict, largest=LARGEST_PLAN)
    check_schema(path, contents.get("schema"))
    plan = files.shaped(contents, _PLAN, path)
    return Plan(plan["jobs"], plan["fixed"], plan["hydra"])


def jobs(folder: Path) -> list[Job]:
    """All jobs of a sweep by number, also those that never started."""
    planned = read_plan(folder).jobs or []
    numbers = {int(path.name) for path in folder.iterdir() if path.name.isdecimal()}
    return [
        read(folder / str(number), planned[number] if number < len(planned) else None)
        for number in sorted(numbers | set(range(len(planned))))
    ]


def read(folder: Path, planned: Sequence[str] | None = None) -> Job:
    """A job from its folder; ``planned``: its overrides, which it may not have put down yet."""
    overrides = planned if planned is not None else _overrides(folder)
    metrics: dict[str, Any] = {}
    error = ""
    try:
        metrics = read_metrics(folder)
    except UserError as problem:
        error = str(problem)
    if folders.is_finished(folder):
        status = FAILED if error else FINISHED
    elif folders.is_held(folder):
        status = UNDER_WAY
    elif os.path.isfile(folder / ERROR):
        status = FAILED
        error = _last_line(files.read(folder / ERROR).decode(errors="replace"))
    else:
        status = CUT_OFF if os.path.isfile(folder / folders.STARTED) else NOT_STARTED
    return Job(int(folder.name), folder, tuple(overrides), status, metrics, error)


def _overrides(folder: Path) -> list[str]:
    try:
        return [str(word) for word in plain.read(folder / folders.STARTED, list)]
    except UserError:
        return []


def record(folder: Path, error: BaseException) -> str:
    """Leave in a job's folder why it failed, a line for what the input explains; returns it."""
    line = reason(error)
    explained = isinstance(root(error), UserError)
    trace = "" if explained else "".join(traceback.format_exception(error))
    with suppress(OSError):  # a full disk: the job then counts as cut off
        write_atomically(folder, ERROR, f"{trace}{line}\n".encode())
    return line


def reason(error: BaseException) -> str:
    """Why something failed in one line: what lies at the root, without the advice that follows."""
    first = root(error)
    if isinstance(first, UserError):
        return " ".join(str(first).split())
    lines = [line.strip() for line in str(first).splitlines() if line.strip()]
    return ": ".join([type(first).__name__, *lines[:1]])


def root(error: BaseException) -> BaseException:
    """The error that others were raised from, or the first that a person can do something about."""
    while error.__cause__ is not None and not isinstance(error, UserError):
        if "RemoteTraceback" in type(error.__cause__).__name__:  # text from another process
            break
        error = error.__cause__
    return error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
