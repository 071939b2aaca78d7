"""The page of a run: report.html in its folder."""

from pathlib import Path

from vae_exp.analysis.base import tell_skipped
from vae_exp.atomic import write_atomically
from vae_exp.data import Splits
from vae_exp.errors import UserError
from vae_exp.folders import REPORT
from vae_exp.report import curves, numbers, origins
from vae_exp.report.commands import Commands
from vae_exp.report.document import Section, document
from vae_exp.report.live import live
from vae_exp.report.looks import PastLook, described, looks_of, named
from vae_exp.report.markup import Markup, joined, paragraph, tag
from vae_exp.report.numbers import claims
from vae_exp.report.pictures import Pictures
from vae_exp.runs import loading
from vae_exp.runs.asking import analysis_named
from vae_exp.runs.loading import Run
from vae_exp.runs.looking import splits_of

OWN_SECTION = ("evaluate", "posterior_atlas", "trust")


def write(run: Run) -> Path:
    """Put report.html into a run's folder, in the place of an older one; returns where it is."""
    write_atomically(run.folder, REPORT, page(run))
    return run.folder / REPORT


def written(folder: Path, splits: Splits | None = None, root: str | None = None) -> Path | str:
    """Write the page of the run in a folder; if that fails, why, after a line on stderr.

    splits: the run's images, if they are at hand; else they are loaded, below ``root`` if given.
    """
    try:
        run = loading.load(str(folder))
        if root is not None:
            splits = splits_of(run, root)
        return write(run if splits is None else run.over(splits))
    except Exception as error:  # noqa: BLE001
        return tell_skipped(REPORT, error)


def page(run: Run) -> bytes:
    """The page of a run, of what its folder holds now."""
    metrics = run.metrics
    looks = looks_of(metrics)
    commands = Commands(run.folder, unsuited(run, looks))
    pictures = Pictures(run.folder, looks)
    lead = joined(
        [origins.sentence(run, metrics), numbers.tiles(metrics, looks, commands)],
    )
    explorer, addition = live(run)
    sections = [
        explorer,
        numbers.section(metrics, looks, commands),
        curves.section(run.folder),
        _figures([look for look in looks if look.task not in OWN_SECTION], pictures),
        numbers.gap(looks, pictures, commands),
        numbers.trust(looks, pictures, commands),
        origins.config(run),
        origins.commands(commands, looks),
    ]
    return document(f"Run {run.name}", lead, sections, addition)


def unsuited(run: Run, looks: list[PastLook]) -> dict[str, str]:
    """The tasks with a section of their own that cannot be put to the run, and why."""
    found = {}
    for task in OWN_SECTION:
        if not named(looks, task):
            try:
                reason = analysis_named(task, {}).unsuited(run.model, run.splits)
            except UserError:  # the images are not at hand: they may be where the command is typed
                continue
            if reason is not None:
                found[task] = reason
    return found


def _figures(looks: list[PastLook], pictures: Pictures) -> Section:
    """What each look found that can be seen: its figures, and questions that it answers."""
    parts: list[Markup | None] = []
    for look in looks:
        found = [pictures.shown(path) for path in look.figures]
        answered = claims(look.numbers)
        if not found and answered is None:
            continue
        parts.append(tag("h3", look.heading))
        if not found:
            parts.append(paragraph(described(look.task)))
        parts += [*found, answered]
    if not parts:
        parts.append(paragraph("No figure was drawn."))
    return Section("figures", "The figures", joined(parts))
