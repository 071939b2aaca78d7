"""Means over seeds with intervals, and differences that stay true after the best was chosen."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)

LEVEL = 0.95
ENOUGH = 3  # seeds for an interval over seeds
TOO_FEW, ONE_SEED = "‡", "†"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, the half-width of its interval (nan for too few seeds), their count.

    ``over_images``: the half-width over the images of one seed, which is told if there is one seed.
    """

    mean: float
    half_width: float
    count: int
    over_images: float = math.nan

    def text(self, decimals: int = 2) -> str:
        """Mean ± half-width, with a mark if it is not over seeds."""
        mean = f"{self.mean:.{decimals}f}"
        if not math.isnan(self.half_width):
            return f"{mean} ± {self.half_width:.{decimals}f}"
        if self.count == 1 and not math.isnan(self.over_images):
            return f"{mean} ± {self.over_images:.{decimals}f} {ONE_SEED}"
        return mean + (f" {TOO_FEW}" if self.count > 1 else "")

    def __str__(self) -> str:
        return self.text()


def interval(
    values: Sequence[float], level: float = LEVEL, *, stderr: float = math.nan
) -> Interval:
    """Student's interval, mean ± t s / √n, with t the (1 + level) / 2 quantile of n − 1 degrees.

    Two values have none: with t = 12.7 it would be wider than anything that is asked of it.
    ``stderr``: the standard error over images of a single value, whose interval is the normal one.
    """
    from scipy.special import ndtri, stdtrit

    count = len(values)
    mean = math.fsum(values) / count
    if count < ENOUGH:
        over_images = float(ndtri((1 + level) / 2)) * stderr if count == 1 else math.nan
        return Interval(mean, math.nan, count, over_images)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = float(stdtrit(count - 1, (1 + level) / 2))
    return Interval(mean, quantile * math.sqrt(variance / count), count)


def differences_from(
    reference: Name, values: Mapping[Name, Mapping[int, float]], *, chosen_from: int = 0
) -> dict[Name, Interval]:
    """Every row's mean difference from the reference over common seeds, all pairs true at once.

    ``values``: a number by row and seed; ``chosen_from``: rows that the reference was chosen from,
    if there were more. The half-width is q s / √n, with q the quantile of the studentized range
    of all rows and s² the residual variance of row + seed (Tukey 1953; for unequal counts Kramer
    1956, conservative by Hayter 1984, doi:10.1214/aos/1176346392). It holds for every pair at once,
    so for any that was chosen, if all rows have the same spread over seeds. Since they may not, it
    is never below the pair's own Student interval. Of two rows both are the same. Pairs with fewer
    than three common seeds have none.
    """
    variance, degrees = _residual(values)
    rows = max(len(values), chosen_from)
    found = {}
    for name, row in values.items():
        common = [seed for seed in values[reference] if seed in row]
        if name == reference or not common:
            continue
        own = interval([row[seed] - values[reference][seed] for seed in common])
        half_width = own.half_width
        if not math.isnan(half_width):
            pooled = critical(rows, degrees) * math.sqrt(2 * variance / len(common))
            half_width = max(half_width, pooled)
        found[name] = Interval(own.mean, half_width, own.count)
    return found


@cache
def critical(rows: int, degrees: float = math.inf, level: float = LEVEL) -> float:
    """How many of its standard errors any difference of two of so many means has to either side.

    q / √2, with q the quantile of the studentized range; of two means Student's t.
    """
    from scipy import stats

    return float(stats.studentized_range.ppf(level, rows, degrees)) / math.sqrt(2)


def _residual(values: Mapping[Name, Mapping[int, float]]) -> tuple[float, int]:
    """The variance that row + seed leaves, by least squares, and its degrees of freedom."""
    seeds = {seed: place for place, seed in enumerate({s for row in values.values() for s in row})}
    cells = [
        (place, seeds[seed], value)
        for place, row in enumerate(values.values())
        for seed, value in row.items()
    ]
    rows, columns, numbers = map(np.array, zip(*cells, strict=True))
    design = np.hstack([np.eye(len(values))[rows], np.eye(len(seeds))[columns]])
    solution, _, rank, _ = np.linalg.lstsq(design, numbers - numbers.mean())
    left = numbers - numbers.mean() - design @ solution
    degrees = len(numbers) - int(rank)
    return (float(left @ left) / degrees if degrees else math.nan), degrees
