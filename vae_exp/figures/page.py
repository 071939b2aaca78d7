"""An empty figure, the footnote that says what it shows, and the bytes that it becomes."""

import difflib
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le
from matplotlib import colormaps, rc_context, rcdefaults
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from vae_exp.errors import UserError

Array = Tensor | npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

DPI = 150
SCREEN_DPI = 90  # in a notebook, so that a page of figures stays small
INK = "gray_r"  # white paper, black ink
GREY = "0.4"
SMALL, TITLE = 7.0, 10.0  # points

LARGEST = 2**16 - 1_000  # dots along a side: what Agg can draw, but for margins


def forget_habits() -> None:
    """Draw as matplotlib does by itself, whatever a matplotlibrc says: for all of a process."""
    rcdefaults()


def check_fits(key: str, count: int, dots: float) -> None:
    """Raise UserError if ``count`` parts of so many dots do not fit into a figure in a row."""
    most = int(LARGEST / dots)
    if count > most:
        raise UserError(
            f"{key} must be at most {most:,}, the most that a figure holds, got {count:,}"
        )


class Picture(Figure):
    """A figure on the Agg canvas that a notebook shows; pyplot is not needed for it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dpi=DPI, **options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return Style(dpi=SCREEN_DPI).file(self)


def figure(width: float, height: float) -> Picture:
    """An empty figure of that size in inches, laid out by constraints."""
    return Picture(figsize=(width, height), layout="constrained")


@dataclass(frozen=True)
class Style:
    """How figures are saved; `cmap` colours images, from no ink to ink.

    Raises UserError if matplotlib has no such colour map.
    """

    format: Literal["png", "pdf", "svg"] = "png"
    dpi: Annotated[int, Ge(30), Le(600)] = DPI
    cmap: str = INK

    def __post_init__(self) -> None:
        if self.cmap not in colormaps:
            close = difflib.get_close_matches(self.cmap, colormaps, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(
                f"figures.cmap must be a colour map of matplotlib, got {self.cmap!r}{hint}"
            )

    def of_screens(self) -> "Style":
        """The same for what shows PNG files of the usual size alone."""
        return replace(self, format="png", dpi=DPI)

    def file(self, fig: Figure) -> bytes:
        """The figure as a file, of the same bytes each time: its layout is that of the first."""
        for image in fig.findobj(AxesImage):
            image.set_cmap(self.cmap)
        undated = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
        file = io.BytesIO()
        with rc_context({"svg.hashsalt": "vae_exp", "pdf.fonttype": 42}):
            fig.savefig(file, format=self.format, dpi=self.dpi, metadata=undated[self.format])
        fig.set_layout_engine("none")  # constraints would move the layout on with every drawing
        return file.getvalue()


def png(fig: Figure) -> bytes:
    """The figure as a PNG file."""
    return Style().file(fig)


def plain(text: str) -> str:
    """Text that matplotlib draws as it stands, for what people and files may hold."""
    return text.replace("$", r"\$")


def caption(fig: Figure, *parts: str) -> None:
    """A footnote below everything: the parts joined by dots, wrapped to the figure's width."""
    text = "\n".join(caption_lines(fig.get_figwidth(), parts))
    fig.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color=GREY)


def caption_lines(width: float, parts: Sequence[str]) -> list[str]:
    """The parts joined by dots, in lines of at most `width` inches, broken at dots first."""
    columns = int((width - 0.2) * 72 / (0.54 * SMALL))
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + 3 + len(part) <= columns:
            lines[-1] += f" · {part}"
        else:
            lines += textwrap.wrap(part, columns, break_on_hyphens=False)
    return lines


def title_lines(width: float, text: str) -> str:
    """A title in lines of at most `width` inches."""
    columns = max(12, int((width - 0.2) * 72 / (0.52 * TITLE)))
    return "\n".join(textwrap.wrap(text, columns, break_on_hyphens=False))


def floats(values: Array) -> Floats:
    """Tensor or array as a float64 array on the CPU."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
