"""Images in rows and in sheets, drawn as ink: 0 is white paper and 1 is black, in every figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vae_exp.figures import page
from vae_exp.figures.page import DPI, INK, SMALL, TITLE, Array, Floats, floats

# Dots: of an image's longer side at most, unless it has more pixels, of the gap to the next, and of
# a wider gap. A pixel is a whole number of dots, so that pixels stay square.
_SIDE, _GAP, _BREAK = 84, 6, 30
TILE, _SHEET = 56, 560  # dots of an image's longer side in a large mosaic, and of a small mosaic
CELL = _SIDE + _GAP
TINT = ("#3f90da", 0.35)  # a colour and how much of it


def image_grid(
    images: Array,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    caption: Sequence[str] = (),
    breaks: Sequence[int] = (),
) -> Figure:
    """A figure of images [R, C, H, W] or [R, C, H, W, 3] in 0..1, drawn as `image_rows` does."""
    rows, columns = images.shape[:2]
    height, width = _cell(images)
    fig, ax = _exact_figure(
        columns * (width + _GAP) - _GAP + _BREAK * len(breaks),
        rows * (height + _GAP) - _GAP,
        left=0.2 + 0.055 * max(map(len, row_labels), default=0),
        top=0.35 + (0.2 if column_labels else 0),
        title=title,
        caption=caption,
    )
    image_rows(ax, images, row_labels=row_labels, column_labels=column_labels, breaks=breaks)
    return fig


def image_rows(
    ax: Axes,
    images: Array,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    breaks: Sequence[int] = (),
) -> None:
    """Draw images [R, C, H, W] or [R, C, H, W, 3] in rows; a wider gap before columns `breaks`.

    Grey ones are drawn as ink; in coloured ones 1 is light.
    """
    cells = floats(images)
    rows, columns = cells.shape[:2]
    height, width = _cell(images)
    lefts = [c * (width + _GAP) + _BREAK * sum(b <= c for b in breaks) for c in range(columns)]
    tops = [r * (height + _GAP) for r in range(rows)]
    for row, top in zip(cells, tops, strict=True):
        for image, left in zip(row, lefts, strict=True):
            _ink(ax, image, (left, left + width, top + height, top))
            ax.add_patch(
                Rectangle((left, top), width, height, fill=False, ec="0.7", lw=0.5, clip_on=False)
            )
    ax.set_xlim(0, lefts[-1] + width)
    ax.set_ylim(tops[-1] + height, 0)
    ax.set_xticks([left + width / 2 for left in lefts[: len(column_labels)]], column_labels)
    ax.set_yticks([top + height / 2 for top in tops[: len(row_labels)]], row_labels)
    ax.tick_params(length=0, labelsize=8, top=True, labeltop=True, labelbottom=False)
    ax.set_frame_on(False)


def tint(ax: Axes, chosen: Array) -> None:
    """Colour the ``chosen`` pixels, bool [H, W], of the one image that is drawn in some axes."""
    colour = np.zeros((*chosen.shape, 4))
    colour[..., :] = to_rgba(TINT)
    colour[..., 3] *= floats(chosen)
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    ax.imshow(colour, extent=(left, right, bottom, top), interpolation="nearest", aspect="equal")


def image_mosaic(
    images: Array, xs: Array, ys: Array, *, title: str = "", caption: Sequence[str] = ()
) -> Figure:
    """A figure of images [R, C, H, W] or [R, C, H, W, 3] edge to edge.

    That of (xs[j], ys[i]) stands in row i from below.
    """
    cells = floats(images)[::-1]
    rows, columns, height, width = cells.shape[:4]
    sheet = cells.swapaxes(1, 2).reshape(rows * height, columns * width, *cells.shape[4:])
    side = max(TILE, _SHEET / max(rows, columns))
    dots = max(1, round(side / max(height, width)))
    fig, ax = _exact_figure(
        columns * width * dots,
        rows * height * dots,
        left=0.75,
        below=0.6,
        top=0.35,
        title=title,
        caption=caption,
    )
    _ink(ax, sheet, (0, columns, 0, rows))
    ax.set_aspect(height / width)
    ax.set_xticks(np.arange(columns) + 0.5, _numbers(xs), rotation=90)
    ax.set_yticks(np.arange(rows) + 0.5, _numbers(ys))
    ax.tick_params(labelsize=SMALL, length=2)
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    return fig


def _exact_figure(
    width: int,
    height: int,
    *,
    left: float,
    top: float,
    below: float = 0.0,
    title: str,
    caption: Sequence[str],
) -> tuple[Figure, Axes]:
    """A figure with one axes of exactly width × height dots, within margins in inches."""
    page.check_fits("the dots of a figure's side", max(width, height), 1)
    right = 0.15
    total_width = left + width / DPI + right
    title = page.title_lines(total_width, title)
    top += 0.16 * title.count("\n")
    bottom = below + 0.15 + 0.14 * len(page.caption_lines(total_width, caption))
    inches = (total_width, bottom + height / DPI + top)
    dots = [round(inch * DPI) for inch in inches]
    fig = page.Picture(figsize=(dots[0] / DPI, dots[1] / DPI))
    x, y = round(left * DPI), round(bottom * DPI)
    ax = fig.add_axes((x / dots[0], y / dots[1], width / dots[0], height / dots[1]))
    fig.suptitle(title, fontsize=TITLE, y=1 - 0.06 / inches[1], va="top")
    page.caption(fig, *caption)
    return fig, ax


def _ink(ax: Axes, image: Floats, extent: tuple[float, float, float, float]) -> None:
    shown = image.clip(0, 1)  # a density's samples may lie outside
    ax.imshow(
        shown, cmap=INK, vmin=0, vmax=1, extent=extent, interpolation="nearest", aspect="equal"
    )


def _cell(images: Array) -> tuple[int, int]:
    """Height and width in dots of each of the images [R, C, H, W, ..]."""
    height, width = images.shape[2:4]
    dots = max(1, _SIDE // max(height, width))
    return height * dots, width * dots


def _numbers(values: Array) -> list[str]:
    return [f"{value:.2f}".replace("-", "−") for value in floats(values)]
