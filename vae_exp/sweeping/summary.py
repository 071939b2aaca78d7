"""The answer of a sweep: sweep.csv, sweep.md, sweep.png and a table on the terminal."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vae_exp import folders
from vae_exp.atomic import write_atomically
from vae_exp.errors import UserError
from vae_exp.shell import command
from vae_exp.sweeping import sweeps
from vae_exp.sweeping.named_numbers import as_csv, refuse_unknown
from vae_exp.sweeping.replicates import Column, columns, swept
from vae_exp.sweeping.sweeps import Job
from vae_exp.sweeping.tables import CSV, MARKDOWN, PICTURE, Differences, markdown, show

# The words of a plan for Hydra that a command to copy may hold: a launcher's name, and its numbers.
REPEATED = re.compile(r"hydra/launcher=\w+|hydra\.launcher(\.[a-z]\w*)+=[\w.-]+")


class Summarise:
    """Makes the summary of a sweep again. Called with the whole config.

    ``columns``: numbers to tell beside the ELBO, as sweep.csv names them; None: log p(x), if the
    runs have it.
    """

    def __init__(self, *, sweep: str | None, columns: Sequence[str] | None = None) -> None:
        if sweep is None:
            raise UserError("task=summarise needs a sweep: sweep=latest or sweep=FOLDER")
        self.sweep = sweep
        self.columns = columns

    def __call__(self, config: dict[str, Any]) -> None:
        """Raises UserError if there is no such sweep, or no such number."""
        folder = folders.find_sweep(self.sweep)
        hydra = [word for word in sweeps.read_plan(folder).hydra if REPEATED.fullmatch(word)]
        resume = ("-m", f"resume={folders.shown(folder)}", *hydra)
        root = config["data"].get("root")
        summarise(folder, resume=resume, seed=config["seed"], root=root, asked=self.columns)


def summarise(
    folder: Path,
    *,
    thorough: bool = True,
    resume: Sequence[str] = (),
    seed: int = 0,
    root: str | None = None,
    asked: Sequence[str] | None = None,
) -> None:
    """Write a sweep's summary and print its table, whatever became of its jobs.

    ``thorough``: whether to take differences, for which every run is loaded; ``resume``: the words
    that go on with the sweep; ``seed``, ``root``: of the noise and the images of differences;
    ``asked``: columns for other numbers. Raises UserError if no job has one of them.
    """
    jobs = sweeps.jobs(folder)
    refuse_unknown(jobs, asked or ())
    write_atomically(folder, CSV, as_csv(jobs).encode())
    found = columns(jobs, asked)
    taken: list[Differences] = []
    notes: list[str] = []
    for column in found:
        gains, note = _taken(column, seed, root) if thorough else ({}, "")
        taken.append(gains)
        if note:
            notes.append(note)
    if not thorough and any(len(column.settings) > 1 for column in found):
        again = command("task=summarise", f"sweep={folders.shown(folder)}")
        notes.append(f"differences were not taken: {again}")
    try:
        _draw(folder, jobs, found)
    except Exception as error:  # a signal in the midst of an import leaves half a library behind
        if thorough:
            raise
        notes.append(f"there is no picture: {type(error).__name__}")
    text = markdown(folder, jobs, found, taken, notes, resume)
    write_atomically(folder, MARKDOWN, text.encode())
    show(Console(), folder, jobs, found, taken, notes)


def _draw(folder: Path, jobs: Sequence[Job], found: Sequence[Column]) -> None:
    """The picture, if there is something to draw; the imports are heavy."""
    (folder / PICTURE).unlink(missing_ok=True)
    if found and swept(jobs):
        from vae_exp.figures import forget_habits, png
        from vae_exp.sweeping.figure import draw

        forget_habits()
        picture = draw(jobs, found)
        if picture is not None:
            write_atomically(folder, PICTURE, png(picture))


def _taken(column: Column, seed: int, root: str | None) -> tuple[Differences, str]:
    from vae_exp.sweeping.differences import differences

    try:
        return differences(column, seed, root), ""
    except UserError as error:
        return {}, f"differences were not taken: {error}"
