"""How a long computation tells what fraction of it is done, from 0 to 1."""

from collections.abc import Callable

Progress = Callable[[float], None]


def silent(fraction: float) -> None:
    """Progress that nobody asked for."""


def share(progress: Progress, start: float, length: float) -> Progress:
    """The progress of a part, told as that of the whole."""
    return lambda fraction: progress(start + length * fraction)


def shares(progress: Progress, *sizes: int) -> list[Progress]:
    """The progress of consecutive parts of the given sizes, each told as that of the whole."""
    total = sum(sizes)
    return [
        share(progress, sum(sizes[:part]) / total, size / total) for part, size in enumerate(sizes)
    ]
