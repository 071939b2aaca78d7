"""HTML by one function, which escapes every text; no other module of the package writes a tag."""

import html
import re
from collections.abc import Iterable
from typing import Any

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # in no HTML document
VOID = {"img", "meta", "br"}


class Markup(str):
    """Text that is HTML already, as ``tag`` made it."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Text as HTML, in which no character means anything but itself."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(text)), quote=True))


def tag(name: str, /, *children: object, **attributes: Any) -> Markup:
    """An element. Children are escaped unless they are Markup; those that are None are left out.

    ``class_`` is the attribute class, ``aria_label`` is aria-label; True is an attribute without a
    value, and those that are None or False are left out.
    """
    opening = [name]
    for key, value in attributes.items():
        written = key.rstrip("_").replace("_", "-")
        if value is True:
            opening.append(written)
        elif value is not None and value is not False:
            opening.append(f'{written}="{escape(value)}"')
    start = f"<{' '.join(opening)}>"
    return Markup(start if name in VOID else f"{start}{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Markup:
    """Elements and texts one after the other; those that are None are left out."""
    return Markup("".join(escape(child) for child in children if child is not None))


def verbatim(name: str, text: str, **attributes: Any) -> Markup:
    """A <style> or <script> element, whose text HTML does not unescape.

    Raises ValueError if the text would end the element.
    """
    if re.search(rf"</{name}|<!--", text, flags=re.IGNORECASE):
        raise ValueError(f"the text of a <{name}> holds what would end the element")
    return Markup(f"{tag(name, **attributes).removesuffix(f'</{name}>')}{text}</{name}>")


def table(
    head: Iterable[object], rows: Iterable[Iterable[object]], *, caption: str | None = None
) -> Markup:
    """A table whose first column names its rows; it scrolls by itself on a narrow screen.

    The caption is plain text.
    """
    titles = [tag("th", title, scope="col") for title in head]
    lines = []
    for first, *cells in rows:
        named = tag("th", first, scope="row")
        lines.append(tag("tr", named, *(tag("td", cell) for cell in cells)))
    inside = tag(
        "table", tag("thead", tag("tr", *titles)), tag("tbody", *lines), aria_label=caption
    )
    told = None if caption is None else tag("p", caption, class_="caption")
    return joined([told, tag("div", inside, class_="wide")])


def folded(summary: object, *children: object) -> Markup:
    """What is shown once a person unfolds it; print shows the summary alone."""
    return tag("details", tag("summary", summary), *children)


def paragraph(*children: object) -> Markup:
    """A paragraph."""
    return tag("p", *children)


def code(text: object) -> Markup:
    """A few words of code in a line."""
    return tag("code", text)


def listing(text: str) -> Markup:
    """Lines of code, which scroll by themselves."""
    return tag("pre", tag("code", text))
