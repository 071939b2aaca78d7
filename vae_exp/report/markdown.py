"""The Markdown that sweep.md is written in, as HTML: headings, paragraphs, tables, lists, code."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from vae_exp.report.markup import Markup, code, joined, paragraph, table, tag

INLINE = re.compile(r"\*\*`(?P<both>[^`]*)`\*\*|`(?P<code>[^`]*)`|\*\*(?P<bold>[^*]+)\*\*")
PICTURE = re.compile(r"!\[.*\]\(.*\)")


@dataclass(frozen=True)
class Page:
    """A text in parts: its title, what precedes the first section, and the sections by title."""

    title: str
    lead: Markup
    sections: list[tuple[str, Markup]]


def read(text: str) -> Page:
    """A text whose title has one # and whose sections have two. Pictures are left out."""
    title, parts = "Untitled", [("", [])]  # type: tuple[str, list[tuple[str, list[str]]]]
    for line in text.splitlines():
        if line.startswith("# "):
            title = line[2:]
        elif line.startswith("## "):
            parts.append((line[3:], []))
        else:
            parts[-1][1].append(line)
    (_, lead), *sections = [(name, joined(_blocks(lines))) for name, lines in parts]
    return Page(title, lead, sections)


def _blocks(lines: Sequence[str]) -> Iterator[Markup]:
    for empty, block in groupby(lines, lambda line: not line.strip()):
        own = list(block)
        if empty or PICTURE.fullmatch(own[0]):
            continue
        if all(line.startswith("|") for line in own) and len(own) > 1:
            head, _, *rows = [_cells(line) for line in own]
            yield table(head, rows)
        elif all(line.startswith("- ") for line in own):
            yield tag("ul", *(tag("li", inline(line[2:])) for line in own))
        else:
            yield paragraph(inline(" ".join(own)))


def _cells(line: str) -> list[Markup]:
    return [inline(cell.strip()) for cell in line.strip().strip("|").split("|")]


def inline(text: str) -> Markup:
    """A line with its code and its bold words."""
    parts: list[object] = []
    end = 0
    for found in INLINE.finditer(text):
        parts.append(text[end : found.start()])
        kind = found.lastgroup
        inside = found[kind] if kind else ""
        shown = tag("strong", inside) if kind == "bold" else code(inside)
        parts.append(tag("strong", shown) if kind == "both" else shown)
        end = found.end()
    return joined([*parts, text[end:]])
