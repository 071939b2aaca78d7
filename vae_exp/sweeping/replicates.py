"""Runs of several seeds as one setting: means with intervals, and which numbers share a column."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vae_exp.data.settings import in_words
from vae_exp.data.sources import caption_of_name
from vae_exp.runs.metrics import MASS, scores_of
from vae_exp.sweeping.sweeps import FINISHED, Job, key_of, value_of

LEVEL = 0.95
ENOUGH = 3  # seeds for an interval over seeds
TOO_FEW = "‡"


@dataclass(frozen=True)
class Interval:
    """A mean, the half-width of its interval (nan for too few values), the count."""

    mean: float
    half_width: float
    count: int

    def __str__(self) -> str:
        if math.isnan(self.half_width):
            return f"{self.mean:.2f}" + (f" {TOO_FEW}" if self.count > 1 else "")
        return f"{self.mean:.2f} ± {self.half_width:.2f}"


def interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's interval, mean ± t s / √n, with t the (1 + level) / 2 quantile of n − 1 degrees.

    Two values have none: with t = 12.7 it would be wider than anything that is asked of it.
    """
    from scipy.special import stdtrit

    count = len(values)
    mean = math.fsum(values) / count
    if count < ENOUGH:
        return Interval(mean, math.nan, count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = float(stdtrit(count - 1, (1 + level) / 2))
    return Interval(mean, quantile * math.sqrt(variance / count), count)


@dataclass(frozen=True)
class Difference:
    """A setting's test ELBO less the best one's, over the seeds that both have.

    ``stderr`` is that of the mean over images, with the seeds held as they are.
    """

    over_seeds: Interval
    stderr: float


@dataclass(frozen=True)
class Setting:
    """Finished runs that differ in nothing but their seed, one a seed."""

    overrides: tuple[str, ...]
    runs: dict[int, Job]

    @property
    def test(self) -> Interval:
        """The test ELBO over seeds."""
        return interval([job.metrics["test"]["elbo"]["mean"] for job in self.runs.values()])

    @property
    def validation(self) -> Interval:
        """The validation ELBO over seeds, which alone may choose between settings."""
        return interval([validation_of(job) for job in self.runs.values()])

    @property
    def log_p_x(self) -> Interval | None:
        """log p(x) of the test images over seeds, if every run has put task=evidence to itself."""
        found = [_log_p_x(job) for job in self.runs.values()]
        means = [mean for mean in found if mean is not None]
        return interval(means) if len(means) == len(found) else None

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

    @property
    def best(self) -> Setting:
        """The setting of the highest validation ELBO."""
        return max(self.settings, key=lambda setting: setting.validation.mean)


def validation_of(job: Job) -> float:
    """A run's validation ELBO: of its final weights, else of the best epoch."""
    found = job.metrics["validation"]
    return float(found["elbo"]["mean"] if "elbo" in found else found["best_elbo"])


def _log_p_x(job: Job) -> float | None:
    """What task=evidence found, with whatever settings: its name then tells them."""
    for name, found in job.metrics.get("analyses", {}).items():
        if name.partition("_")[0] == "evidence" and "log_p_x" in found:
            return float(found["log_p_x"]["mean"])
    return None


def columns(jobs: Sequence[Job]) -> list[Column]:
    """Finished runs by setting; settings are in one column if their protocols agree."""
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
