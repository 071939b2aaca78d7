"""The latent plane: points by class over the prior's circles, and contours of densities."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from numpy.lib.stride_tricks import sliding_window_view

from vae_exp.figures.page import SMALL, Array, Floats, floats, plain

RADII = (1, 2, 3)  # of the prior's circles, in its standard deviations
MASSES = (0.5, 0.8, 0.95)
# The ten of Petroff 2021, arXiv:2107.02270, which stay apart for colour-blind readers, in an order
# that gives the digits that models confuse (4 7 9, 3 5 8) the most different ones.
CLASS_COLORS = (
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#bd1f01",
    "#832db6",
    "#3f90da",
    "#94a4a2",
    "#92dadd",
    "#717581",
    "#ffa90e",
)
UNLABELLED = "#3f90da"
LEGEND = 20  # classes in a column of a legend


def latent_axes(ax: Axes, *, cover: Array | None = None, circles: bool = True) -> None:
    """Equal axes of z_1 and z_2 with `circles` at 1, 2 and 3 σ of the standard Gaussian.

    They hold [−3, 3]² and, if given, the points `cover` [N, 2].
    """
    for radius in RADII if circles else ():
        ax.add_patch(Circle((0, 0), radius, fill=False, ec="0.25", lw=0.8, ls="--"))
        _haloed(ax, f"{radius}σ", (0, -radius), SMALL)
    low, high = np.full(2, -3.0), np.full(2, 3.0)
    if cover is not None and len(cover):
        low = np.minimum(low, floats(cover).min(0))
        high = np.maximum(high, floats(cover).max(0))
    margin = 0.04 * float((high - low).max())
    ax.set_aspect("equal")
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(low[1] - margin, high[1] + margin)
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")


def latent_scatter(
    ax: Axes, points: Array, labels: Array | None, name: Callable[[int], str] = str
) -> None:
    """Points [N, 2] coloured by their class [N], with a legend to the right; alike without labels.

    They lie over each other in the order given; a class is named where it is densest, within the
    limits that the axes have, if there is room. `name` gives the words for a class.
    """
    xy = floats(points)
    if labels is None:
        _dots(ax, xy, UNLABELLED)
        return
    present, ranks = np.unique(np.asarray(labels).astype(np.int64), return_inverse=True)
    colors = class_colors(present.tolist())
    _dots(ax, xy, np.array(colors)[ranks])
    names = [plain(name(label)) for label in present.tolist()]
    handles = [
        Line2D([], [], linestyle="", marker="o", color=color, label=text)
        for color, text in zip(colors, names, strict=True)
    ]
    ax.legend(
        handles=handles,
        title="class",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        ncols=-(-len(handles) // LEGEND),
    )
    for rank, place in _label_places(ax, xy, ranks).items():
        _haloed(ax, names[rank], place, 12)


def latent_strip(
    ax: Axes,
    z: Array,
    labels: Array | None,
    jitter: Array,
    name: Callable[[int], str] = str,
    *,
    circles: bool = True,
) -> None:
    """One latent dimension: z [N] along the axis, a band a class; `circles` marks 1, 2 and 3 σ.

    `jitter` [N] in −½..½ spreads the points of a class over its band; without labels all are in
    one. `name` gives the words for a class.
    """
    along, spread = floats(z), 0.8 * floats(jitter)
    if labels is None:
        _dots(ax, np.stack([along, spread], 1), UNLABELLED)
        ax.set_yticks([])
    else:
        present, ranks = np.unique(np.asarray(labels).astype(np.int64), return_inverse=True)
        colors = class_colors(present.tolist())
        _dots(ax, np.stack([along, ranks + spread], 1), np.array(colors)[ranks])
        names = [plain(name(label)) for label in present.tolist()]
        ax.set_yticks(range(len(names)), names)
        ax.set_ylabel("class")
    lines = (*(-radius for radius in RADII), *RADII) if circles else ()
    for sigma in lines:
        ax.axvline(sigma, color="0.25", linewidth=0.8, linestyle="--")
        ax.annotate(
            f"{sigma}σ".replace("-", "−"),
            (sigma, 1.01),
            xycoords=ax.get_xaxis_transform(),
            ha="center",
            fontsize=SMALL,
        )
    reach = 1.04 * max(3.0, float(np.abs(along).max(initial=0)))
    ax.set_xlim(-reach, reach)
    ax.set_xlabel("$z$")


def mass_levels(log_density: Array, masses: Sequence[float] = MASSES) -> Floats:
    """The levels of log density [H, W] whose superlevel sets hold the given probability masses.

    The grid is uniform, holds all the mass there is, and is fine beside it. Cells are sorted by
    density and cumulated, each counted to its middle; the maximum is taken off before exp. One
    level a mass, in the unit and with the offset of `log_density`.
    """
    ordered = np.sort(floats(log_density).ravel())[::-1]
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
    linestyle: Any = "-",
    filled: bool = False,
) -> Floats:
    """Draw the contours of a density that enclose the given probability masses.

    log_density [H, W] at (xs[j], ys[i]), up to a constant, on a uniform grid that holds all the
    mass. The smaller the mass, the thicker its line, or with `filled` the darker its band; `label`
    gets a legend entry. Returns the levels in the order of `masses`, in the unit of `log_density`.
    """
    levels = mass_levels(log_density, masses)
    drawn, first = np.unique(levels, return_index=True)  # contour wants them rising and distinct
    grid = floats(xs), floats(ys), floats(log_density)
    if filled:
        shades = np.linspace(0.35, 1, len(drawn))
        bands = [tuple(1 - shade * (1 - np.array(to_rgb(color)))) for shade in shades]
        ax.contourf(*grid, [*drawn, np.inf], colors=bands, zorder=0.5)
        ax.fill([], [], color=color, label=label)
        return levels
    widths = np.interp(np.asarray(masses)[first], (0.5, 1), (1.9, 0.9))
    ax.contour(*grid, drawn, colors=color, linewidths=list(widths), linestyles=[linestyle])
    ax.plot([], [], color=color, linestyle=linestyle, label=label)
    return levels


def class_colors(labels: Sequence[int]) -> list[str]:
    """A colour a class: of the ten for the labels 0 to 9, else evenly around the rainbow."""
    if max(labels, default=0) < len(CLASS_COLORS):
        return [CLASS_COLORS[label] for label in labels]
    if len(labels) <= len(CLASS_COLORS):
        return list(CLASS_COLORS[: len(labels)])
    return [to_hex(color) for color in colormaps["turbo"](np.linspace(0.05, 0.95, len(labels)))]


def _dots(ax: Axes, xy: Floats, colors: Any) -> None:
    size = float(np.clip(20_000 / max(len(xy), 1), 3, 20))
    # As thousands of shapes they would make a PDF of megabytes.
    ax.scatter(
        xy[:, 0], xy[:, 1], s=size, c=colors, linewidths=0, alpha=0.8, zorder=0.9, rasterized=True
    )


def _haloed(ax: Axes, text: str, place: tuple[float, float], size: float) -> None:
    halo = withStroke(linewidth=3, foreground="white")
    ax.annotate(
        text, place, ha="center", va="center", size=size, annotation_clip=True, path_effects=[halo]
    )


def _label_places(
    ax: Axes, xy: Floats, classes: npt.NDArray[np.intp]
) -> dict[int, tuple[float, float]]:
    """For each class, numbered from 0, the part of the axes where it is densest and least mixed.

    Labels keep clear of each other; a class that finds no place among its points has none.
    """
    cells = 30
    low = np.array([ax.get_xlim()[0], ax.get_ylim()[0]])
    size = max(*(np.array([ax.get_xlim()[1], ax.get_ylim()[1]]) - low)) / cells
    at = np.floor((xy - low) / size).astype(np.int64)
    seen = ((at >= 0) & (at < cells)).all(1)
    counts = np.zeros((classes.max(initial=0) + 1, cells, cells))
    np.add.at(counts, (classes[seen], *at[seen].T), 1)
    framed = np.pad(counts, ((0, 0), (1, 1), (1, 1)))
    around = sliding_window_view(framed, (3, 3), axis=(1, 2)).mean((3, 4))
    scores = np.where(counts > 0, around**2 / np.maximum(around.sum(0), 1e-9), 0)
    middles = np.stack(np.meshgrid(*2 * [np.arange(cells) + 0.5], indexing="ij"), -1)
    taken = [(np.array([0, -radius]) - low) / size for radius in RADII]
    places = {}
    for name, score in enumerate(scores):
        clear = [np.abs(middles - place).max(-1) >= 1.5 for place in taken]
        clear_score = score * np.all(clear, axis=0)
        if clear_score.any():
            best = middles[np.unravel_index(clear_score.argmax(), score.shape)]
            taken.append(best)
            places[name] = tuple((low + best * size).tolist())
    return places
