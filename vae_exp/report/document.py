"""The page around its sections: title, contents, style, and the policy that forbids every fetch."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from vae_exp.report.markup import Markup, tag, verbatim

NOTHING = Markup()


@dataclass(frozen=True)
class Section:
    """A part of a page with its own heading, and a line in the contents."""

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class Addition:
    """What a page needs beside its sections: further style, data blocks, and scripts."""

    style: str = ""
    data: Markup = NOTHING
    scripts: tuple[str, ...] = ()


def document(
    title: str, lead: Markup, sections: Sequence[Section], addition: Addition | None = None
) -> bytes:
    """A whole page as one file, which runs the ``addition``'s scripts alone and fetches nothing.

    Raises ValueError if a style or a script holds what would end its element.
    """
    addition = addition or Addition()
    style = _style() + addition.style
    contents = [tag("li", tag("a", section.title, href=f"#{section.id}")) for section in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(addition.scripts)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="vae_exp"),
        tag("title", title),
        verbatim("style", style),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("header", tag("h1", title), lead),
        tag("nav", tag("ol", *contents), aria_label="Contents"),
        tag("main", *map(_section, sections), id="content", tabindex="-1"),
        addition.data,
        *(verbatim("script", script) for script in addition.scripts),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n".encode()


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy: these very scripts, and nothing that is not in the file.

    A worker may be made of a Blob, which inherits the policy.
    """
    allowed = " ".join(map(_digest, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _section(section: Section) -> Markup:
    heading = tag("h2", section.title, id=f"{section.id}-title")
    return tag(
        "section", heading, section.body, id=section.id, aria_labelledby=f"{section.id}-title"
    )


@cache
def _style() -> str:
    return (resources.files("vae_exp.report") / "page.css").read_text(encoding="utf-8")


def embedded(id: str, text: str) -> Markup:
    """A block of JSON that a script reads; ``<`` is written so that no text ends the block."""
    return verbatim("script", text.replace("<", "\\u003c"), type="application/json", id=id)
