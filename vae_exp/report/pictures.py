"""The figures of a run inside its page: found in its folder, made small enough, and explained."""

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from vae_exp import files, folders
from vae_exp.errors import Damaged, UserError, first_line
from vae_exp.figures import DPI
from vae_exp.files import MIB
from vae_exp.report.captions import caption
from vae_exp.report.looks import PastLook
from vae_exp.report.markup import Markup, code, tag

BUDGET = 1_400_000  # bytes of all figures, so that a page with the live model stays below 8 MB
LARGEST = {"png": 16 * MIB, "svg": 2 * MIB}  # bytes of a file: the latter stays as large as it is
SCREEN_DPI = 100  # at which a figure is shown, if there is room
MOST_PIXELS = 60_000_000
FEWEST_PIXELS = 640  # of a figure's width: below this nothing can be read
COLOURS = 256
PNG = "image/png"
TYPES = {".png": PNG, ".svg": "image/svg+xml"}
PLAIN = re.compile(rf"{folders.FIGURES}/[\w.,=+-]+\.(png|svg|pdf)")


class Pictures:
    """The figures that looks tell of, as elements of a page."""

    def __init__(self, folder: Path, looks: list[PastLook], budget: int = BUDGET) -> None:
        self.folder = folder
        self.of = {path: look for look in looks for path in look.figures}
        self.missing: dict[str, str] = {}
        self.contents = within_budget(self._read(), budget)

    def _read(self) -> dict[str, bytes]:
        found = {}
        for path in self.of:
            if not PLAIN.fullmatch(path) or path.endswith(".pdf"):
                self.missing[path] = "a page cannot show it"
                continue
            try:
                found[path] = read(self.folder, path)
            except UserError as error:
                self.missing[path] = first_line(error)
        return found

    def shown(self, path: str) -> Markup:
        """A figure with the sentence that says how to read it, or why it cannot be shown."""
        if path not in self.contents:
            return tag("p", code(path), f" is not shown: {self.missing.get(path, 'no such file')}.")
        look = self.of[path]
        what, how = caption(look.task, _figure(path, look))
        kind = TYPES[Path(path).suffix]
        return picture(self.contents[path], kind, f"{look.title}: {what}", how)


def picture(contents: bytes, kind: str, what: str, how: str) -> Markup:
    """A picture inside the page: what it shows, for those who cannot see it, and how to read it."""
    width = None
    if kind == PNG:
        with Image.open(io.BytesIO(contents)) as image:
            width = image.width * SCREEN_DPI // DPI
    source = f"data:{kind};base64,{base64.b64encode(contents).decode()}"
    seen = tag("img", src=source, alt=what, width=width)
    return tag("figure", tag("figcaption", how), seen, class_="picture")


def read(folder: Path, name: str) -> bytes:
    """A picture of a folder; raises UserError if it is none, or does not lie there."""
    contents = files.read(folders.within(folder, name), LARGEST[name.rpartition(".")[2]])
    if name.endswith(".png"):
        _refuse_no_picture(contents, name)
    return contents


def _figure(path: str, look: PastLook) -> str:
    """A figure's name without the settings of its look: evaluate_images10_gap is evaluate_gap."""
    rest = Path(path).stem.removeprefix(look.name).strip("_")
    return "_".join(filter(None, (look.task, rest)))


def _refuse_no_picture(contents: bytes, path: str) -> None:
    """Raise Damaged if a file is no PNG picture, or is one that would fill the memory."""
    try:
        with Image.open(io.BytesIO(contents), formats=["PNG"]) as image:
            if image.width * image.height <= MOST_PIXELS:
                return
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Damaged(f"{path} is damaged: it is no PNG picture") from error
    raise Damaged(f"{path} is damaged: it has more than {MOST_PIXELS:,} pixels")


def within_budget(found: Mapping[str, bytes], budget: int) -> dict[str, bytes]:
    """PNG pictures that together take at most ``budget`` bytes, if that can be.

    The largest are given fewer colours first, then fewer pixels. SVG pictures stay as they are.
    """
    made = dict(found)
    for smaller in (_fewer_colours, _half):
        for path in sorted(found, key=lambda path: -len(found[path])):
            if sum(map(len, made.values())) > budget and path.endswith(".png"):
                made[path] = min(smaller(made[path]), made[path], key=len)
    return made


def _fewer_colours(contents: bytes) -> bytes:
    with Image.open(io.BytesIO(contents)) as image:
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image.getchannel("A") if image.mode in ("RGBA", "LA") else None)
    return _png(paper.quantize(COLOURS, method=Image.Quantize.FASTOCTREE))


def _half(contents: bytes) -> bytes:
    with Image.open(io.BytesIO(contents)) as image:
        if image.width < 2 * FEWEST_PIXELS:
            return contents
        half = image.convert("RGB").resize((image.width // 2, image.height // 2), reducing_gap=2)
    return _png(half.quantize(COLOURS, method=Image.Quantize.FASTOCTREE))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return file.getvalue()
