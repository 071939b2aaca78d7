"""The curves of a run, read from its event files and drawn as SVG."""

import math
import os
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

from vae_exp import files, folders
from vae_exp.errors import Damaged, UserError, first_line
from vae_exp.report.chart import Chart, Series
from vae_exp.report.document import Section
from vae_exp.report.estimates import numeric, shown
from vae_exp.report.markup import Markup, folded, joined, paragraph, table, tag

Points = list[tuple[int, float]]  # step, value

LARGEST = 1 << 14  # bytes of a record that is read: scalars have a hundred, figures many more
HEADER, CHECKSUM = 12, 4  # bytes: a length and its checksum before a record, a checksum after it
MOST = 1 << 40  # bytes that a record can have
CLOCK = "train/elbo"  # is logged at the end of each epoch
SPLITS = {"val": "validation", "train": "training"}
ROWS = 12  # of the table of values
TITLES = {
    "elbo": "ELBO",
    "log_p_x": "log p(x)",
    "gap": "log p(x) − ELBO of the same images",
    "kl": "KL(q(z | x) ‖ p(z))",
    "log_likelihood": "E[log p(x | z)]",
}


def section(folder: Path) -> Section:
    """What was logged while the run trained; if there is nothing, what would have kept it."""
    title = "The curves"
    try:
        scalars = read(folder)
    except UserError as error:
        return Section("curves", title, paragraph(f"They cannot be read: {first_line(error)}."))
    per_epoch = steps_per_epoch(scalars)
    panels = [Chart(name, lines, *per_epoch) for name, lines in grouped(scalars).items()]
    if not panels:
        why = "None were kept: the run logged to no event file, as logger=tensorboard does."
        return Section("curves", title, paragraph(why))
    charts = tag("div", *(panel.drawn() for panel in panels), class_="charts")
    told = "Each line is a mean over images in nats, by the epochs of training."
    return Section("curves", title, joined([paragraph(told), charts, _values(scalars, per_epoch)]))


def read(folder: Path) -> dict[str, Points]:
    """The scalars of a run's event files by their tags, in the order of their steps.

    Raises Damaged if a file cannot be read.
    """
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted(folder.glob(folders.EVENTS)):
        for tag_, step, value in _scalars(folders.within(folder, path.name)):
            found[tag_][step] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def _scalars(path: Path) -> Iterator[tuple[str, int, float]]:
    with files.opened(path) as file:
        try:
            for record in _records(file):
                event = Event.FromString(record)
                for value in event.summary.value:
                    if value.WhichOneof("value") == "simple_value":
                        yield value.tag, event.step, value.simple_value
        except DecodeError as error:
            raise Damaged(f"{path} is damaged: {first_line(error)}") from error


def _records(file: BinaryIO) -> Iterator[bytes]:
    """The short records of an event file, up to where it was cut off.

    TensorBoard's reader takes seconds for one with figures: their checksums are counted in Python.
    """
    while len(header := file.read(HEADER)) == HEADER:
        (size,) = struct.unpack("<Q", header[:-CHECKSUM])
        if size > LARGEST:
            file.seek(min(size, MOST) + CHECKSUM, os.SEEK_CUR)
            continue
        record = file.read(size + CHECKSUM)
        if len(record) < size + CHECKSUM:
            return
        yield record[:size]


def steps_per_epoch(scalars: Mapping[str, Points]) -> tuple[str, int]:
    """What the horizontal axis counts, and how many steps make one of it."""
    first = scalars.get(CLOCK, [])[:1]
    return ("epoch", first[0][0] + 1) if first else ("step", 1)


def grouped(scalars: Mapping[str, Points]) -> dict[str, list[Series]]:
    """Curves of one quantity, which share a panel, by its title: the ELBO first."""
    panels: dict[str, list[Series]] = {}
    names = {name.partition("/")[2]: None for name in scalars if name.partition("/")[0] in SPLITS}
    for name in [*filter(names.__contains__, TITLES), *sorted(names.keys() - TITLES.keys())]:
        title = TITLES.get(name, name.replace("_", " "))
        for split, words in SPLITS.items():
            points = [(s, v) for s, v in scalars.get(f"{split}/{name}", []) if math.isfinite(v)]
            if points:
                panels.setdefault(title, []).append(Series(words, points))
    return panels


def _values(scalars: Mapping[str, Points], per_epoch: tuple[str, int]) -> Markup:
    """The curves as a table, at some of the epochs."""
    clock, steps = per_epoch
    names = [name for name in scalars if name.partition("/")[0] in SPLITS]
    reached = sorted({step for name in names for step, _ in scalars[name]})
    every = max(1, math.ceil(len(reached) / ROWS))
    chosen = [step for index, step in enumerate(reached) if (len(reached) - 1 - index) % every == 0]
    values = {name: dict(scalars[name]) for name in names}
    rows = [
        (
            shown((step + 1) / steps, 0 if (step + 1) % steps == 0 else 2),
            *(numeric(shown(values[name][step]) if step in values[name] else "") for name in names),
        )
        for step in chosen
    ]
    return folded("The same as numbers", table((clock, *names), rows))
