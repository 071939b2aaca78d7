"""The page of several runs side by side: their test numbers, and paired differences."""

import os
from collections.abc import Sequence
from pathlib import Path

from vae_exp import folders
from vae_exp.atomic import write_atomically
from vae_exp.evaluation.estimates import Estimate
from vae_exp.folders import REPORT
from vae_exp.report.commands import typed
from vae_exp.report.document import Section, document
from vae_exp.report.estimates import LABELS, mean_and_error, numeric
from vae_exp.report.markup import Markup, code, joined, listing, paragraph, table, tag
from vae_exp.runs.contenders import QUANTITIES, Contender, contend


def write(specs: Sequence[str], output: Path, seed: int, root: str | None = None) -> Path:
    """Compare runs and write the page; raises UserError if one table cannot hold their numbers."""
    output = output.absolute()
    contenders = contend(specs, seed, root)
    write_atomically(output.parent, output.name, page(contenders, output, seed))
    return output


def page(contenders: Sequence[Contender], output: Path, seed: int) -> bytes:
    """The page of runs whose numbers can stand in one column."""
    protocol = contenders[0].protocol
    lead = paragraph(
        f"{len(contenders)} runs on the same {protocol['images']:,} {protocol['split']} images of "
        f"{protocol['data name']}. Differences are taken image by image with the same noise, so "
        "their errors are much smaller than those of the numbers themselves.",
    )
    sections = [
        Section("numbers", "The numbers", _numbers(contenders)),
        Section("differences", "Differences to run 1", _differences(contenders, seed)),
        Section("runs", "The runs", _runs(contenders, output)),
        Section("protocol", "What the runs have in common", _protocol(contenders[0])),
        Section("commands", "The commands", _commands(contenders, output, seed)),
    ]
    return document(f"Comparison of {len(contenders)} runs", lead, sections)


def _numbers(contenders: Sequence[Contender]) -> Markup:
    rows = [
        (
            f"run {number}",
            code(run.settings),
            numeric(run.latent_dim),
            *(_shown(run.test[name]) for name in QUANTITIES),
        )
        for number, run in enumerate(contenders, 1)
    ]
    head = ("run", "settings", "latent dimensions", *(LABELS[name] for name in QUANTITIES))
    return joined(
        [
            table(head, rows),
            paragraph("Nats per image, mean ± standard error over images, as each run wrote them."),
        ]
    )


def _differences(contenders: Sequence[Contender], seed: int) -> Markup:
    first = contenders[0]
    rows = [
        (f"run {number}", *(_shown(run.minus(first, name, seed)) for name in QUANTITIES))
        for number, run in enumerate(contenders[1:], 2)
    ]
    told = f"Nats per image, paired over images, common noise from seed {seed}."
    return joined([table(("run", *(LABELS[n] for n in QUANTITIES)), rows), paragraph(told)])


def _shown(number: Estimate) -> Markup:
    return numeric(mean_and_error(number.as_dict()))


def _runs(contenders: Sequence[Contender], output: Path) -> Markup:
    """Where each run lies, with a link to its own page if it has one."""
    items = []
    for number, run in enumerate(contenders, 1):
        folder = run.path if run.path.is_dir() else run.path.parent
        items.append(
            tag(
                "li",
                f"run {number}: ",
                code(folders.shown(run.path)),
                ", ",
                own_page(folder, output),
            )
        )
    return tag("ul", *items)


def own_page(folder: Path, page: Path) -> Markup:
    """A link from a page to the page of a run, or the command that makes that one."""
    if not (folder / REPORT).is_file():
        command = typed(["task=report", f"run={folders.shown(folder)}"])
        return joined(["no page yet: ", code(command)])
    there = Path(os.path.relpath(folder / REPORT, page.parent)).as_posix()
    return tag("a", "its page", href=there)


def _protocol(first: Contender) -> Markup:
    known = {key: value for key, value in first.protocol.items() if value is not None}
    return table(("what", "value"), known.items())


def _commands(contenders: Sequence[Contender], output: Path, seed: int) -> Markup:
    runs = f"runs=[{','.join(folders.shown(run.path) for run in contenders)}]"
    words = [runs, f"seed={seed}"]
    page = ["task=report", *words, f"task.output={folders.shown(output)}"]
    return listing("\n".join([typed(["task=compare", *words]), typed(page)]))
