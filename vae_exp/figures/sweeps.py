"""A number against each knob of a sweep: points with intervals, joined if a knob is a number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from vae_exp.figures.page import SMALL

# Okabe and Ito's colours without the pale yellow: told apart by colour-blind readers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DOTS, DASHDOTS = (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1))
STYLES = ("-", "--", ":", "-.", (0, (5, 1)), DASHDOTS, DOTS)  # told apart in print too
APART = 4  # points between intervals at the same place, so that they can be told apart
FEW, SHORT = 8, 6  # so many values, of so many characters, are named one by one


@dataclass(frozen=True)
class Line:
    """Points of one colour: places on the knob's axis, means, half-widths (nan: none), and a name.

    ``joined``: whether a line through the points means anything.
    """

    label: str
    places: Sequence[float]
    means: Sequence[float]
    half_widths: Sequence[float]
    joined: bool = True


def knob_axis(ax: Axes, name: str, values: Sequence[float] | Sequence[str]) -> None:
    """Scale and ticks of a knob: numbers by size, on a log scale over a decade; words in a row."""
    ax.set_xlabel(name, fontsize=8)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", lw=0.6)
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        ax.set_xticks(range(len(values)), [str(value) or "default" for value in values])
        ax.set_xlim(-0.5, len(values) - 0.5)
        if max(len(str(value)) for value in values) * len(values) > 40:
            ax.tick_params(axis="x", labelrotation=20)
        return
    if min(numbers) > 0 and max(numbers) >= 10 * min(numbers):
        ax.set_xscale("log")
        ratio = (max(numbers) / min(numbers)) ** 0.08
        ax.set_xlim(min(numbers) / ratio, max(numbers) * ratio)
    if len(numbers) <= FEW and all(len(f"{value:g}") <= SHORT for value in numbers):
        ax.xaxis.set_major_locator(FixedLocator(sorted(numbers)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())


def knob_lines(ax: Axes, lines: Sequence[Line]) -> None:
    """Lines, each in a colour, marker and style of its own; with intervals, side by side."""
    assert isinstance(ax.figure, Figure)
    bars_meet = not all(math.isnan(width) for line in lines for width in line.half_widths)
    for index, line in enumerate(lines):
        aside = (index - (len(lines) - 1) / 2) * APART / 72 if bars_meet else 0.0
        moved = ax.transData + ScaledTranslation(aside, 0, ax.figure.dpi_scale_trans)
        points = sorted(zip(line.places, line.means, line.half_widths, strict=True))
        places, means, widths = zip(*points, strict=True)
        bars = [0.0 if math.isnan(width) else width for width in widths]
        for sign in (-1, 1):  # what is moved aside does not count for the axes' limits
            ends = [mean + sign * bar for mean, bar in zip(means, bars, strict=True)]
            ax.update_datalim(list(zip(places, ends, strict=True)))
        ax.errorbar(
            places,
            means,
            yerr=bars,
            color=COLORS[index % len(COLORS)],
            marker=MARKERS[index % len(MARKERS)],
            ls=STYLES[index % len(STYLES)] if line.joined else "",
            ms=4,
            lw=1.2,
            elinewidth=1,
            capsize=2.5,
            transform=moved,
            label=line.label,
        )
    ax.autoscale_view()
