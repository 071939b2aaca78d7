"""The tables of a sweep: sweep.md, and the same on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vae_exp import folders
from vae_exp.evaluation.intervals import ENOUGH, ONE_SEED, TOO_FEW
from vae_exp.runs.over_seeds import Difference
from vae_exp.shell import command
from vae_exp.sweeping import sweeps
from vae_exp.sweeping.named_numbers import images_of
from vae_exp.sweeping.replicates import LOG_P_X, Column, Setting, data_of, number, swept
from vae_exp.sweeping.sweeps import Job

CSV, MARKDOWN, PICTURE = "sweep.csv", "sweep.md", "sweep.png"
BEST = "*"
Differences = dict[tuple[str, ...], Difference]


def title_of(column: Column) -> str:
    """Which images a column is about."""
    about = column.protocol
    return f"{about['split']} set: {about['images']:,} images of {data_of(column)}"


def explained(column: Column, gains: Differences) -> str:
    """What the intervals of a table are, and over what: seeds or images."""
    counts = [len(setting.runs) for setting in column.settings]
    counts += [gain.over_seeds.count for gain in gains.values()]
    over_seeds = max(counts) >= ENOUGH
    text = ("" if column.extra.keys() <= {LOG_P_X} else "ELBO in ") + "nats per image; mean"
    text += " ± 95 % over seeds (Student's t)" if over_seeds else ""
    for label, name in column.extra.items():
        jobs = [job for setting in column.settings for job in setting.runs.values()]
        counts_of_images = {images_of(job, name) for job in jobs} - {None}
        if counts_of_images - {column.protocol["images"]}:
            text += f"; {label}: of {_listed(counts_of_images)} images"
    if len(column.settings) > 1:
        text += f"; {BEST} best by val/elbo, the test set chose nothing"
    if gains:
        text += "; differences on the same seeds, images and noise"
        if over_seeds and len(column.settings) > 2:
            text += ", ± 95 % for all pairs of settings at once (Tukey)"
    if 2 in counts:
        text += f"; {TOO_FEW} two seeds are too few for an interval"
    if 1 in counts:
        text += f"; {ONE_SEED} one seed: ± 95 % over images alone"
    return text


def _listed(counts: set[int | None]) -> str:
    return " or ".join(f"{count:,}" for count in sorted(filter(None, counts)))


def rows_of(column: Column, keys: Sequence[str], gains: Differences) -> list[list[str]]:
    """A row a setting, the best validation ELBO first."""
    ordered = sorted(column.settings, key=lambda setting: -setting.validation.mean)
    return [
        [
            (f"{BEST} " if _is_marked(setting, column) else "") + names(setting, keys),
            str(len(setting.runs)),
            str(setting.validation),
            str(setting.test),
            *_extra(setting, column),
            str(gains.get(setting.overrides, "")),
        ]
        for setting in ordered
    ]


def _is_marked(setting: Setting, column: Column) -> bool:
    return setting is column.best and len(column.settings) > 1


def names(setting: Setting, keys: Sequence[str]) -> str:
    """A setting by its values of the keys that differ within the sweep."""
    values = [setting.value(key) for key in keys]
    return ", ".join("default" if v is None else short(v) for v in values) or "defaults"


def short(value: str) -> str:
    """A value as a table shows it: a number that a search drew to four digits."""
    found = number(value)
    return f"{found:.4g}" if found is not None and len(value) > 8 else value


def _extra(setting: Setting, column: Column) -> list[str]:
    """What was asked for besides, to two digits after the point, or four if all are below one."""
    cells = []
    for name in column.extra.values():
        found = setting.metric(name)
        others = [other.metric(name) for other in column.settings]
        small = all(each is None or abs(each.mean) < 1 for each in others)
        cells.append("" if found is None else found.text(4 if small else 2))
    return cells


def header(column: Column) -> list[str]:
    """The names of the numbers of a table."""
    return ["seeds", "val ELBO", "test ELBO", *column.extra, "test − best's"]


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
        head = header(column)
        kept = [name for name in head if name != "val ELBO" or not column.extra]
        for name in kept:  # eighty columns hold four numbers in a line
            one_line = len(column.extra) < 2
            table.add_column(escape(name), justify="right", no_wrap=one_line, overflow="fold")
        for name, *cells in rows_of(column, keys, gains):
            style = "bold" if name.startswith(f"{BEST} ") else None
            shown = [cell for title, cell in zip(head, cells, strict=True) if title in kept]
            table.add_row(escape(name), *shown, style=style)
        console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    missing = unfinished(jobs)
    if missing:
        console.print(f"not finished: {len(missing)} of {len(jobs)} jobs")
    for name, what in missing:
        console.print(f"  {name}  {what}", markup=False, highlight=False, soft_wrap=True)
    written = [name for name in (CSV, MARKDOWN, PICTURE) if (folder / name).exists()]
    console.print(f"{folders.shown(folder)}: {', '.join(written)}", highlight=False, soft_wrap=True)
