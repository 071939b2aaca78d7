"""A bar for each stage of a long answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress_bar() -> Iterator[Callable[[str], Callable[[float], None]]]:
    """A bar a stage; ``stage(name)`` returns what is told the fraction that is done.

    There are no bars in a notebook, as rich cannot draw them there.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=Console().is_jupyter) as bars:

        def stage(name: str) -> Callable[[float], None]:
            task = bars.add_task(name, total=1.0)
            return lambda fraction: bars.update(task, completed=fraction)

        yield stage
