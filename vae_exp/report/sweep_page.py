"""The page of a sweep: what sweep.md says, its picture, and links to the pages of its runs."""

from pathlib import Path

from vae_exp import files, folders
from vae_exp.atomic import write_atomically
from vae_exp.errors import UserError
from vae_exp.folders import REPORT
from vae_exp.report import markdown, pictures
from vae_exp.report.commands import typed
from vae_exp.report.comparison_page import own_page
from vae_exp.report.document import Section, document
from vae_exp.report.estimates import is_estimate, mean_and_error, numeric
from vae_exp.report.markdown import Page
from vae_exp.report.markup import Markup, code, listing, paragraph, table
from vae_exp.runs import plain
from vae_exp.runs.metrics import read_metrics

SUMMARY, PICTURE = "sweep.md", "sweep.png"
HOW = (
    "Each panel has a knob along its axis; a mark is the mean over the seeds of a setting, and a "
    "bar, if there are enough seeds, holds 95 % (Student's t)."
)


def write(folder: Path) -> Path:
    """Put report.html into a sweep's folder; raises UserError if the sweep has no summary yet."""
    path = folder / SUMMARY
    if not path.is_file():
        again = typed(["task=summarise", f"sweep={folders.shown(folder)}"])
        raise UserError(f"{path} is missing, from which the page is made: {again}")
    summary = markdown.read(files.read(path).decode(errors="replace"))
    write_atomically(folder, REPORT, page(folder, summary))
    return folder / REPORT


def page(folder: Path, summary: Page) -> bytes:
    """The page of a sweep, of its summary and of what its jobs left behind."""
    sections = [
        Section(f"part-{number}", title, body)
        for number, (title, body) in enumerate(summary.sections, 1)
    ]
    if (folder / PICTURE).is_file():
        sections.append(Section("picture", "The picture", _picture(folder)))
    sections.append(Section("runs", "The runs", _runs(folder)))
    again = [
        typed([f"task={task}", f"sweep={folders.shown(folder)}"])
        for task in ("summarise", "report")
    ]
    sections.append(Section("commands", "The commands", listing("\n".join(again))))
    return document(summary.title, summary.lead, sections)


def _picture(folder: Path) -> Markup:
    try:
        contents = pictures.read(folder, PICTURE)
    except UserError as error:
        return paragraph(f"It cannot be shown: {error}.")
    return pictures.picture(contents, pictures.PNG, "ELBO against the knobs of the sweep", HOW)


def _runs(folder: Path) -> Markup:
    jobs = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=_number)
    return table(("job", "overrides", "test ELBO", "its page"), [_run(job, folder) for job in jobs])


def _number(job: Path) -> int:
    return int(job.name)


def _run(job: Path, sweep: Path) -> list[object]:
    """A row: the job, its words, its test ELBO, its page."""
    try:
        words = " ".join(map(str, plain.read(job / folders.STARTED, list))) or "defaults"
        elbo = read_metrics(job).get("test", {}).get("elbo")
    except UserError as error:
        return [job.name, str(error), "", ""]
    found = numeric(mean_and_error(elbo)) if is_estimate(elbo) else "not finished"
    link = own_page(job, sweep / REPORT) if folders.is_finished(job) else ""
    return [job.name, code(words), found, link]
