"""A paired comparison: contestants take turns, so that a slow minute of the machine hits all."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.progress import track
from rich.table import Table

Contest = Callable[[], Mapping[str, float]]  # one turn: seconds by name


@dataclass(frozen=True)
class Timing:
    """Seconds of every round, and the same as ratios to the limit's of that round."""

    seconds: list[float]
    ratios: list[float]

    def as_dict(self) -> dict[str, float | list[float]]:
        """For the JSON file."""
        return {
            "seconds_median": statistics.median(self.seconds),
            "ratio_median": statistics.median(self.ratios),
            "ratio_quartiles": quartiles(self.ratios),
            "seconds": self.seconds,
        }


def alternate(contests: list[Contest], limit: str, rounds: int, title: str) -> dict[str, Timing]:
    """Let every contest have a turn in each of ``rounds``, after one round that does not count."""
    seconds: dict[str, list[float]] = {}
    for turn in track(range(rounds + 1), description=f"{title:<24}"):
        for contest in contests:
            for name, value in contest().items():
                if turn:
                    seconds.setdefault(name, []).append(value)
    return {
        name: Timing(values, [a / b for a, b in zip(values, seconds[limit], strict=True)])
        for name, values in seconds.items()
    }


def quartiles(values: list[float]) -> list[float]:
    """The first and the third quartile; the value itself if there is one."""
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def table(title: str, timings: Mapping[str, Timing], targets: Mapping[str, float]) -> Table:
    """Medians, the spread of the ratios, and what the ratio should be at most."""
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("")
    for header in ("seconds", "× limit", "quartiles", "target"):
        drawn.add_column(header, justify="right", no_wrap=True)
    for name, timing in timings.items():
        low, high = quartiles(timing.ratios)
        target = f"≤ {targets[name]:g}" if name in targets else ""
        drawn.add_row(
            name,
            f"{statistics.median(timing.seconds):.3f}",
            f"{statistics.median(timing.ratios):.2f}",
            f"{low:.2f}–{high:.2f}",
            target,
        )
    return drawn
