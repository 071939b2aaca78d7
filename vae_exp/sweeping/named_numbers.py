"""The numbers of a sweep's jobs by name: every row of sweep.csv, any column of sweep.md."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from vae_exp.errors import UserError
from vae_exp.sweeping.sweeps import Job, key_of, value_of

STDERR = "_stderr"


def numbers_of(job: Job) -> dict[str, float]:
    """Every final number of a job with its standard error, by names such as ``test/elbo``."""
    found: dict[str, float] = {}
    validation = dict(job.metrics.get("validation", {}))
    best = validation.pop("best", None)
    if isinstance(best, dict) and _is_number(best.get("value")):
        found[str(best.get("by")).replace("/", "/best_", 1)] = best["value"]
    _collect(validation, "val", found)
    _collect(job.metrics.get("test", {}), "test", found)
    for name, analysis in job.metrics.get("analyses", {}).items():
        _collect(analysis, name, found, estimates_only=True)
    return found


def counted(job: Job) -> dict[str, float]:
    """``numbers_of`` and what else a column may hold: counts of analyses, ``run/wall_seconds``."""
    found: dict[str, float] = {}
    for name, analysis in job.metrics.get("analyses", {}).items():
        _collect(analysis, name, found, beside=("stderr", "images"))
    _collect(job.metrics.get("run", {}), "run", found)
    return {**found, **numbers_of(job)}


def named(jobs: Sequence[Job], asked: str) -> str | None:
    """The name in ``counted`` that is meant: itself, else that of an analysis with settings.

    ``evidence/log_p_x`` may mean ``evidence_images1000/log_p_x``: of several, what most jobs have.
    """
    names = Counter(name for job in jobs for name in counted(job))
    if asked in names:
        return asked
    analysis, _, rest = asked.partition("/")
    like = [name for name in names if _is_like(name, analysis, rest)]
    return max(like, key=lambda name: names[name]) if like else None


def refuse_unknown(jobs: Sequence[Job], columns: Sequence[str]) -> None:
    """Raise UserError naming the first column that no job has a number for."""
    known = dict.fromkeys(name for job in jobs for name in counted(job))
    for asked in columns:
        if named(jobs, asked) is None:
            near = get_close_matches(asked, known, n=3, cutoff=0.3)
            near = near or [name for name in known if not name.endswith(STDERR)][:3]
            raise UserError(
                f"task.columns must name numbers that a job has, got {asked!r}"
                + (f": such as {', '.join(map(repr, near))}" if near else "; no job has any")
            )


def number_of(job: Job, name: str) -> tuple[float, float] | None:
    """A number of a job with its standard error (nan if it has none), None if it lacks it."""
    numbers = counted(job)
    if name not in numbers:
        return None
    return float(numbers[name]), float(numbers.get(name + STDERR, math.nan))


def images_of(job: Job, name: str) -> int | None:
    """Over how many images a number of a job is a mean, if it says so."""
    images = counted(job).get(f"{name}_images")
    return None if images is None else int(images)


def _is_like(name: str, analysis: str, rest: str) -> bool:
    """Whether a name is that of an analysis with settings, such as ``evidence_images9/gap``."""
    whole, _, below = name.partition("/")
    return bool(rest) and below == rest and whole.startswith(f"{analysis}_")


def _collect(
    node: Any,
    name: str,
    found: dict[str, float],
    *,
    estimates_only: bool = False,
    beside: Sequence[str] = ("stderr",),
) -> None:
    if isinstance(node, dict) and _is_number(node.get("mean")):
        found[name] = node["mean"]
        for key in beside:
            if _is_number(node.get(key)):
                found[f"{name}_{key}"] = node[key]
    elif isinstance(node, dict):
        for key, below in node.items():
            below_name = f"{name}/{key}"
            _collect(below, below_name, found, estimates_only=estimates_only, beside=beside)
    elif _is_number(node) and not estimates_only:
        found[name] = node


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_csv(rows: Sequence[Job]) -> str:
    """A row a job: its number, overrides, status, seconds, numbers and error."""
    keys = list(dict.fromkeys(key_of(word) for job in rows for word in job.overrides))
    names = list(dict.fromkeys(name for job in rows for name in numbers_of(job)))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["job", *keys, "status", "seconds", *names, "error"])
    for job in rows:
        given = {key_of(word): value_of(word) for word in job.overrides}
        numbers = numbers_of(job)
        writer.writerow(
            [
                job.number,
                *(given.get(key, "") for key in keys),
                job.status,
                job.metrics.get("run", {}).get("wall_seconds", ""),
                *(numbers.get(name, "") for name in names),
                job.error,
            ]
        )
    return file.getvalue()
