"""The answer of a sweep: sweep.csv, sweep.md, sweep.png and a table on the terminal."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vae_exp import folders
from vae_exp.atomic import write_atomically
from vae_exp.errors import UserError
from vae_exp.shell import command
from vae_exp.sweeping import sweeps
from vae_exp.sweeping.replicates import (
    TOO_FEW,
    Column,
    Difference,
    Setting,
    columns,
    data_of,
    number,
    swept,
)
from vae_exp.sweeping.sweeps import Job

CSV, MARKDOWN, PICTURE = "sweep.csv", "sweep.md", "sweep.png"
BEST = "*"
# The words of a plan for Hydra that a command to copy may hold: a launcher's name, and its numbers.
REPEATED = re.compile(r"hydra/launcher=\w+|hydra\.launcher(\.[a-z]\w*)+=[\w.-]+")
Differences = dict[tuple[str, ...], Difference]


class Summarise:
    """Makes the summary of a sweep again. Called with the whole config."""

    def __init__(self, *, sweep: str | None) -> None:
        if sweep is None:
            raise UserError("task=summarise needs a sweep: sweep=latest or sweep=FOLDER")
        self.sweep = sweep

    def __call__(self, config: dict[str, Any]) -> None:
        """Raises UserError if there is no such sweep."""
        folder = folders.find_sweep(self.sweep)
        hydra = [word for word in sweeps.read_plan(folder).hydra if REPEATED.fullmatch(word)]
        resume = ("-m", f"resume={folders.shown(folder)}", *hydra)
        summarise(folder, resume=resume, seed=config["seed"], root=config["data"].get("root"))


def summarise(
    folder: Path,
    *,
    thorough: bool = True,
    resume: Sequence[str] = (),
    seed: int = 0,
    root: str | None = None,
) -> None:
    """Write a sweep's summary and print its table, whatever became of its jobs.

    ``thorough``: whether to take differences, for which every run is loaded; ``resume``: the words
    that go on with the sweep; ``seed``, ``root``: of the noise and the images of differences.
    """
    jobs = sweeps.jobs(folder)
    write_atomically(folder, CSV, sweeps.as_csv(jobs).encode())
    found = columns(jobs)
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


def title_of(column: Column) -> str:
    """Which images a column is about."""
    about = column.protocol
    return f"{about['split']} set: {about['images']:,} images of {data_of(column)}"


def explained(column: Column, gains: Differences) -> str:
    """What the intervals of a table are."""
    text = "nats per image; mean ± 95 % (Student's t) over seeds"
    if len(column.settings) > 1:
        text += f"; {BEST} best by val/elbo, the test set chose nothing"
    if gains:
        text += "; differences on the same seeds, images and noise"
    counts = {len(setting.runs) for setting in column.settings}
    counts |= {gain.over_seeds.count for gain in gains.values()}
    if 2 in counts:
        text += f"; {TOO_FEW} two seeds are too few for an interval"
    if any(gain.over_seeds.count == 1 for gain in gains.values()):
        text += "; † one seed: ± 95 % over images alone"
    return text


def rows_of(column: Column, keys: Sequence[str], gains: Differences) -> list[list[str]]:
    """A row a setting, the best validation ELBO first."""
    ordered = sorted(column.settings, key=lambda setting: -setting.validation.mean)
    return [
        [
            (f"{BEST} " if _is_marked(setting, column) else "") + names(setting, keys),
            str(len(setting.runs)),
            str(setting.validation),
            str(setting.test),
            *_evidence(setting, column),
            _gain(gains.get(setting.overrides)),
        ]
        for setting in ordered
    ]


def _is_marked(setting: Setting, column: Column) -> bool:
    return setting is column.best and len(column.settings) > 1


def _gain(gain: Difference | None) -> str:
    if gain is None:
        return ""
    over = gain.over_seeds
    if over.count == 1:
        return f"{over.mean:+.2f} ± {1.96 * gain.stderr:.2f} †"
    return f"{'+' if over.mean >= 0 else ''}{over}"


def names(setting: Setting, keys: Sequence[str]) -> str:
    """A setting by its values of the keys that differ within the sweep."""
    values = [setting.value(key) for key in keys]
    return ", ".join("default" if v is None else short(v) for v in values) or "defaults"


def short(value: str) -> str:
    """A value as a table shows it: a number that a search drew to four digits."""
    found = number(value)
    return f"{found:.4g}" if found is not None and len(value) > 8 else value


def _has_evidence(column: Column) -> bool:
    return any(setting.log_p_x is not None for setting in column.settings)


def _evidence(setting: Setting, column: Column) -> list[str]:
    if not _has_evidence(column):
        return []
    return ["" if setting.log_p_x is None else str(setting.log_p_x)]


def header(column: Column) -> list[str]:
    """The names of the numbers of a table."""
    evidence = ["log p(x)"] if _has_evidence(column) else []
    return ["seeds", "val ELBO", "test ELBO", *evidence, "test − best's"]


def _what(keys: Sequence[str]) -> str:
    return ", ".join(keys) or "setting"


def unfinished(jobs: Sequence[Job]) -> list[tuple[str, str]]:
    """Jobs without a result, and what became of them."""
    lines = []
    keys = {*swept(jobs), "seed"}
    for job in jobs:
        if job.status != sweeps.FINISHED:
            own = [word for word in job.overrides if sweeps.key_of(word) in keys]
            name = f"{job.number}: {' '.join(own) or 'defaults'}"
            lines.append((name, job.status + (f": {job.error}" if job.error else "")))
    return lines


def markdown(
    folder: Path,
    jobs: Sequence[Job],
    found: Sequence[Column],
    taken: Sequence[Differences],
    notes: Sequence[str],
    resume: Sequence[str],
) -> str:
    """The summary as a page."""
    done = sum(job.status == sweeps.FINISHED for job in jobs)
    fixed = _fixed(jobs)
    lines = [f"# Sweep {folder.parent.name} {folder.name}", ""]
    lines += [f"{done} of {len(jobs)} jobs finished" + (f", all with `{fixed}`" if fixed else "")]
    keys = list(swept(jobs))
    for column, gains in zip(found, taken, strict=True):
        lines += ["", f"## {title_of(column)[0].upper()}{title_of(column)[1:]}", ""]
        lines += [f"| {_what(keys)} | " + " | ".join(header(column)) + " | its s.e. over images |"]
        lines += ["|---|" + "---:|" * (len(header(column)) + 1)]
        stderrs = {
            names(setting, keys): gains[setting.overrides].stderr
            for setting in column.settings
            if setting.overrides in gains
        }
        for name, *cells in rows_of(column, keys, gains):
            plain = name.removeprefix(f"{BEST} ")
            stderr = f"{stderrs[plain]:.2f}" if plain in stderrs else ""
            mark = f"**`{plain}`** (best)" if plain != name else f"`{plain}`"
            lines += ["| " + " | ".join([mark, *cells, stderr]) + " |"]
        lines += ["", f"{explained(column, gains).replace(BEST + ' best', 'best')}."]
    if (folder / PICTURE).exists():
        lines += ["", f"![ELBO against the settings]({PICTURE})"]
    for note in notes:
        lines += ["", note]
    if len(found) > 1:
        lines += ["", "Numbers about different images or by different estimators stand apart."]
    missing = unfinished(jobs)
    if missing:
        lines += ["", "## Not finished", ""]
        lines += [f"- `{name}` {what}" for name, what in missing]
        if resume:
            lines += ["", f"To go on: `{command(*resume)}`"]
    return "\n".join(lines) + "\n"


def _fixed(jobs: Sequence[Job]) -> str:
    """The overrides that all jobs have in common."""
    first = jobs[0].setting if jobs else ()
    return " ".join(word for word in first if all(word in job.setting for job in jobs))


def show(
    console: Console,
    folder: Path,
    jobs: Sequence[Job],
    found: Sequence[Column],
    taken: Sequence[Differences],
    notes: Sequence[str],
) -> None:
    """Print the summary."""
    keys = list(swept(jobs))
    for column, gains in zip(found, taken, strict=True):
        table = Table(title=title_of(column), caption=explained(column, gains))
        table.add_column(_what(keys), overflow="fold")
        kept = slice(1 if _has_evidence(column) else 0, None)  # eighty columns hold four numbers
        for name in header(column)[kept]:
            table.add_column(name, justify="right", no_wrap=True)
        for name, *cells in rows_of(column, keys, gains):
            style = "bold" if name.startswith(f"{BEST} ") else None
            table.add_row(escape(name), *cells[kept], style=style)
        console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    missing = unfinished(jobs)
    if missing:
        console.print(f"not finished: {len(missing)} of {len(jobs)} jobs")
    for name, what in missing:
        console.print(f"  {name}  {what}", markup=False, highlight=False, soft_wrap=True)
    written = [name for name in (CSV, MARKDOWN, PICTURE) if (folder / name).exists()]
    shown = folders.shown(folder)
    console.print(f"{shown}: {', '.join(written)}", highlight=False, soft_wrap=True)
