"""Pictures of images and of the latent plane: tensors or arrays in, a matplotlib Figure out.

Nothing here knows a model or a file, and nothing touches pyplot's global state. Images are drawn
as ink: 0 is white paper, 1 is black, whatever the range of the values drawn together.
"""

import io
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

Array = Tensor | npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

DPI = 150
SIDE = 28
GREY = "0.45"
# Petroff 2021, arXiv:2107.02270: ten colours that stay apart for colour-blind readers.
CLASS_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MASSES = (0.5, 0.8, 0.95)
_GAP, _BREAK = 0.08, 0.4  # between images, in units of an image's side


def figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, laid out by constraints, on the Agg canvas."""
    drawn = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def png(fig: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def caption(fig: Figure, *parts: str) -> None:
    """A footnote under everything else: the parts joined by dots, wrapped to the figure's width."""
    size = 7.0
    columns = int(fig.get_figwidth() * 72 / (0.5 * size))
    text = textwrap.fill(" · ".join(parts), columns)
    fig.supxlabel(text, x=0.01, ha="left", fontsize=size, color=GREY)


def image_grid(
    images: Array,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    breaks: Sequence[int] = (),
) -> Figure:
    """A figure of images [R, C, 28, 28] or [R, C, 784] in 0..1; see `image_rows`."""
    rows, columns = images.shape[:2]
    fig = figure(0.72 * (columns + _BREAK * len(breaks)) + 0.9, 0.78 * rows + 0.9)
    image_rows(
        fig.add_subplot(),
        images,
        row_labels=row_labels,
        column_labels=column_labels,
        breaks=breaks,
    )
    fig.suptitle(title, fontsize=10)
    return fig


def image_rows(
    ax: Axes,
    images: Array,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    breaks: Sequence[int] = (),
) -> None:
    """Draw images [R, C, 28, 28] or [R, C, 784] in rows; a wider gap before columns `breaks`."""
    cells = _as_images(images)
    rows, columns = cells.shape[:2]
    lefts = [c * (1 + _GAP) + _BREAK * sum(b <= c for b in breaks) for c in range(columns)]
    tops = [r * (1 + _GAP) for r in range(rows)]
    for row, top in zip(cells, tops, strict=True):
        for image, left in zip(row, lefts, strict=True):
            _ink(ax, image, (left, left + 1, top + 1, top))
            ax.add_patch(Rectangle((left, top), 1, 1, fill=False, edgecolor="0.7", linewidth=0.5))
    ax.set_xlim(-0.02, lefts[-1] + 1.02)
    ax.set_ylim(tops[-1] + 1.02, -0.02)
    ax.set_xticks([left + 0.5 for left in lefts[: len(column_labels)]], column_labels)
    ax.set_yticks([top + 0.5 for top in tops[: len(row_labels)]], row_labels)
    ax.tick_params(length=0, labelsize=8, top=True, labeltop=True, labelbottom=False)
    ax.set_frame_on(False)


def image_mosaic(ax: Axes, images: Array, xs: Array, ys: Array) -> None:
    """Tile images [H, W, 784] edge to edge, the image of (xs[j], ys[i]) at row i from below."""
    cells = _as_images(images)[::-1]
    rows, columns = cells.shape[:2]
    sheet = cells.transpose(0, 2, 1, 3).reshape(rows * SIDE, columns * SIDE)
    _ink(ax, sheet, (0, columns, 0, rows))
    ax.set_xticks(np.arange(columns) + 0.5, [f"{x:.2f}" for x in _floats(xs)], rotation=90)
    ax.set_yticks(np.arange(rows) + 0.5, [f"{y:.2f}" for y in _floats(ys)])
    ax.tick_params(labelsize=6, length=2)


def latent_axes(ax: Axes, *, reach: float = 3.3) -> None:
    """Equal axes over [−reach, reach]² with circles at 1, 2 and 3 σ of the standard Gaussian."""
    for radius in (1, 2, 3):
        ax.add_patch(
            Circle((0, 0), radius, fill=False, edgecolor="0.3", linewidth=0.8, linestyle="--")
        )
        ax.annotate(
            f"{radius}σ",
            (0, -radius),
            ha="center",
            va="center",
            fontsize=7,
            annotation_clip=True,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    ax.set_aspect("equal")
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")


def latent_scatter(ax: Axes, points: Array, labels: Array, *, name_classes: bool = True) -> None:
    """Points [N, 2] coloured by their class [N] in 0..9, in the order given, with a legend.

    Each class is also named in the plane, near its median.
    """
    xy, classes = _floats(points), np.asarray(labels).astype(np.int64)
    colors = np.array(CLASS_COLORS)[classes]
    size = float(np.clip(20_000 / max(len(xy), 1), 3, 20))
    ax.scatter(xy[:, 0], xy[:, 1], s=size, c=colors, linewidths=0, alpha=0.8, zorder=0.9)
    present = [int(c) for c in np.unique(classes)]
    handles = [
        Line2D([], [], linestyle="", marker="o", color=CLASS_COLORS[c], label=str(c))
        for c in present
    ]
    ax.legend(
        handles=handles, title="class", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False
    )
    if name_classes:
        for name, place in zip(present, _label_places(xy, classes, present), strict=True):
            ax.annotate(
                str(name),
                (place[0], place[1]),
                ha="center",
                va="center",
                fontsize=11,
                fontweight="bold",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )


def mass_levels(log_density: Array, masses: Sequence[float] = MASSES) -> Floats:
    """The levels of log density [H, W] whose superlevel sets hold the given probability masses.

    The grid is uniform and holds all the mass there is. Cells are sorted by density and cumulated,
    each counted to its middle; the maximum is taken off before exp. Same unit and offset as
    `log_density`, one level a mass.
    """
    ordered = np.sort(_floats(log_density).ravel())[::-1]
    density = np.exp(ordered - ordered[0])
    held = (np.cumsum(density) - 0.5 * density) / density.sum()
    return np.interp(masses, held, ordered)


def isocontours(
    ax: Axes,
    xs: Array,
    ys: Array,
    log_density: Array,
    masses: Sequence[float] = MASSES,
    *,
    color: str,
    label: str,
) -> Floats:
    """Draw the contours of a density that enclose the given probability masses.

    log_density [H, W] at (xs[j], ys[i]), up to a constant, on a uniform grid that holds all the
    mass. The smaller the mass, the thicker its line; `label` gets a legend entry that lists them.
    Returns the levels in the order of `masses`, in the unit of `log_density`.
    """
    levels = mass_levels(log_density, masses)
    values = _floats(log_density)
    # Far below the outermost level only the interpolation between cells would suffer.
    values = np.maximum(values, levels.min() - 50)
    order = np.argsort(levels)
    drawn, first = np.unique(levels[order], return_index=True)
    widths = np.interp(np.asarray(masses)[order][first], [min(masses), 1.0], [1.8, 0.6])
    ax.contour(
        _floats(xs), _floats(ys), values, levels=drawn, colors=color, linewidths=list(widths)
    )
    shown = ", ".join(f"{100 * mass:g}" for mass in sorted(masses))
    ax.plot([], [], color=color, label=f"{label} ({shown} %)")
    return levels


def _ink(ax: Axes, image: Floats, extent: tuple[float, float, float, float]) -> None:
    ax.imshow(
        image, cmap="gray_r", vmin=0, vmax=1, extent=extent, interpolation="nearest", aspect="equal"
    )


def _label_places(
    xy: Floats, classes: npt.NDArray[np.int64], present: Sequence[int]
) -> list[Floats]:
    """For each class the own point nearest its median that keeps clear of the labels before."""
    clear = 0.05 * float(np.ptp(xy, axis=0).max())
    places: list[Floats] = []
    for name in present:
        own = xy[classes == name]
        near = own[np.argsort(np.square(own - np.median(own, axis=0)).sum(1))]
        free = [
            point for point in near if all(math.dist(point, place) >= clear for place in places)
        ]
        places.append((free or [near[0]])[0])
    return places


def _as_images(images: Array) -> Floats:
    return _floats(images).reshape(*images.shape[:2], SIDE, SIDE)


def _floats(values: Array) -> Floats:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
