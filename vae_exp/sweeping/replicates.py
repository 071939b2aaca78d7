"""Runs of several seeds as one setting: means with intervals, and which numbers share a column."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vae_exp.data.settings import in_words
from vae_exp.data.sources import caption_of_name
from vae_exp.evaluation.intervals import Interval, interval
from vae_exp.runs.metrics import MASS, scores_of
from vae_exp.sweeping.named_numbers import named, number_of
from vae_exp.sweeping.sweeps import FINISHED, Job, key_of, value_of

LOG_P_X = "log p(x)"


@dataclass(frozen=True)
class Setting:
    """Finished runs that differ in nothing but their seed, one a seed."""

    overrides: tuple[str, ...]
    runs: dict[int, Job]

    @property
    def test(self) -> Interval:
        """The test ELBO over seeds."""
        return self._over_seeds([_estimate(job.metrics["test"]["elbo"]) for job in self._jobs])

    @property
    def validation(self) -> Interval:
        """The validation ELBO over seeds, which alone may choose between settings."""
        return self._over_seeds([_validation(job) for job in self._jobs])

    def metric(self, name: str) -> Interval | None:
        """Any number of the runs over seeds, if all of them have it; ``name``: as in sweep.csv."""
        found = [number_of(job, name) for job in self._jobs]
        had = [each for each in found if each is not None]
        return self._over_seeds(had) if len(had) == len(found) else None

    @property
    def _jobs(self) -> list[Job]:
        return list(self.runs.values())

    def _over_seeds(self, found: Sequence[tuple[float, float]]) -> Interval:
        return interval([value for value, _ in found], stderr=found[0][1])

    def value(self, key: str) -> str | None:
        """What the setting gives a key, as text; None if it leaves the default."""
        given = [value_of(word) for word in self.overrides if key_of(word) == key]
        return given[-1] if given else None


@dataclass(frozen=True)
class Column:
    """Settings whose numbers are about the same images by the same estimator."""

    protocol: dict[str, Any]
    settings: list[Setting]
    images: dict[int, str] = field(default_factory=dict)  # seed -> sha256 of its test images
    extra: dict[str, str] = field(default_factory=dict)  # what was asked for besides -> its name

    @property
    def best(self) -> Setting:
        """The setting of the highest validation ELBO."""
        return max(self.settings, key=lambda setting: setting.validation.mean)


def validation_of(job: Job) -> float:
    """A run's validation ELBO: of its final weights, else of the best epoch."""
    return _validation(job)[0]


def _validation(job: Job) -> tuple[float, float]:
    found = job.metrics["validation"]
    return _estimate(found["elbo"]) if "elbo" in found else (float(found["best_elbo"]), math.nan)


def _estimate(found: dict[str, Any]) -> tuple[float, float]:
    return float(found["mean"]), float(found.get("stderr", math.nan))


def columns(jobs: Sequence[Job], asked: Sequence[str] | None = None) -> list[Column]:
    """Finished runs by setting; settings are in one column if their protocols agree.

    ``asked``: numbers to tell beside the ELBO, as sweep.csv names them; None: log p(x), if a
    setting has it.
    """
    found = _grouped(jobs)
    wanted = _labelled(asked) if asked is not None else {LOG_P_X: "evidence/log_p_x"}
    for column in found:
        its_jobs = [job for setting in column.settings for job in setting.runs.values()]
        for label, name in wanted.items():
            meant = named(its_jobs, name)
            if meant is not None and any(setting.metric(meant) for setting in column.settings):
                column.extra[label] = meant
    return found


def _labelled(names: Sequence[str]) -> dict[str, str]:
    """Numbers by the last part of their names, as columns are narrow; whole if two are alike."""
    last = [name.rpartition("/")[2] for name in names]
    labels = [
        {"log_p_x": LOG_P_X}.get(short, short) if last.count(short) == 1 else name
        for name, short in zip(names, last, strict=True)
    ]
    return dict(zip(labels, names, strict=True))


def _grouped(jobs: Sequence[Job]) -> list[Column]:
    settings: dict[tuple[Any, ...], Setting] = {}
    for job in jobs:
        if job.status == FINISHED and _has_numbers(job):
            key = (job.setting, tuple(protocol_of(job).items()))
            settings.setdefault(key, Setting(job.setting, {})).runs[job.seed] = job
    found: list[Column] = []
    for (_, protocol), setting in settings.items():
        images = {seed: job.metrics["data"]["sha256"] for seed, job in setting.runs.items()}
        for column in found:
            agree = all(column.images.get(seed, sha) == sha for seed, sha in images.items())
            if agree and column.protocol == dict(protocol):
                break
        else:
            column = Column(dict(protocol), [])
            found.append(column)
        column.settings.append(setting)
        column.images.update(images)
    return found


def protocol_of(job: Job) -> dict[str, Any]:
    """What numbers must have in common to stand in one column, but for the images' checksum."""
    data, test = job.metrics["data"], job.metrics["test"]["elbo"]
    return {
        **{key: data[key] for key in ("name", "split", "binarization", "images")},
        "scores": scores_of(job.metrics),
        "estimator": test["estimator"],
        "samples": test.get("samples"),
    }


def data_of(column: Column) -> str:
    """Which images a column is about, in words."""
    how = in_words(column.protocol["binarization"])
    scores = column.protocol.get("scores", MASS)
    kind = "" if scores == MASS else f", by a {scores}"
    return f"{caption_of_name(column.protocol['name'])}, {how}{kind}"


def _has_numbers(job: Job) -> bool:
    metrics = job.metrics
    parts = ("test", "validation", "data")
    return all(part in metrics for part in parts) and "elbo" in metrics["test"]


def swept(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The keys, but for seed, that take several values, each with its values in order.

    A job that leaves a key out counts as a value of its own, the empty text.
    """
    keys = dict.fromkeys(key_of(word) for job in jobs for word in job.setting)
    found = {}
    for key in keys:
        values = dict.fromkeys(
            next((value_of(word) for word in reversed(job.setting) if key_of(word) == key), "")
            for job in jobs
        )
        if len(values) > 1:
            found[key] = list(values)
    return found


def number(text: str) -> float | None:
    """A value as a finite number, or None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
