"""Is a q calibrated? Rank histograms, coverage of its regions, and the nats that it spends."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vae_exp.figures.page import SMALL, Array, floats

COLOR, MUTED, POINT = "#3f90da", "0.75", "#bd1f01"
BAND: dict[str, Any] = {"color": "0.2", "alpha": 0.3, "lw": 0}


def rank_histogram(ax: Axes, counts: Array, band: tuple[float, float], *, label: str) -> None:
    """Counts [bins] of ranks on [0, 1], and between which counts they lie if uniform."""
    heights = floats(counts)
    edges = np.arange(len(heights)) / len(heights)
    ax.bar(edges, heights, width=1 / len(heights), align="edge", color=COLOR, ec="white", lw=0.5)
    ax.axhspan(*band, **BAND, label="where all bars lie in 95 % of cases if q is calibrated")
    ax.set_xlim(0, 1)
    ax.set_xlabel(label, fontsize=8)
    ax.tick_params(labelsize=SMALL)


def coverage_curve(
    ax: Axes, mass: Array, band: tuple[Array, Array, Array], marks: Sequence[tuple[float, float]]
) -> None:
    """The share of `mass` [N] below every level: on the diagonal if q is calibrated.

    `band` holds levels and the shares [L] between which a calibrated one lies; `marks` are levels
    to point out, with the standard error of their share.
    """
    ordered = np.sort(floats(mass))
    ax.plot([0, 1], [0, 1], color="0.4", lw=0.8, ls="--", label="calibrated")
    levels, low, high = map(floats, band)
    ax.fill_between(levels, low, high, **BAND)
    steps = np.arange(1, len(ordered) + 1) / len(ordered)
    ax.step([0, *ordered, 1], [0, *steps, 1], color=COLOR, where="post", label="q(z|x)")
    for level, error in marks:
        share = float((ordered <= level).mean())
        ax.errorbar(level, share, yerr=error, fmt="o", ms=4, color=POINT, capsize=2)
        below = share < level  # the curve rises: there is room to the upper left or lower right
        ax.annotate(
            f"{100 * share:.0f} %",
            (level, share),
            (-5, 3) if below else (5, -8),
            textcoords="offset points",
            ha="right" if below else "left",
            fontsize=SMALL,
        )
    ax.set_aspect("equal")
    ax.set_xlim(0, 1.08)
    ax.set_ylim(0, 1.08)
    ax.set_xlabel("mass of q's region", fontsize=8)
    ax.set_ylabel("share of true z within it", fontsize=8)
    ax.tick_params(labelsize=SMALL)
    ax.legend(frameon=False, fontsize=SMALL, loc="upper left")


def kl_bars(ax: Axes, means: Array, errors: Array, active: Array) -> None:
    """A bar a dimension [Z] with its standard error, muted if the unit is not active."""
    heights, live = floats(means), np.asarray(active, dtype=bool)
    places = np.arange(len(heights)) + 1
    colors = np.where(live, COLOR, MUTED).tolist()
    width = 0.4 if len(heights) < 4 else 0.8
    ax.bar(places, heights, yerr=floats(errors), color=colors, ecolor="0.2", width=width)
    ax.set_xlim(0.4, len(heights) + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.set_xlabel("dimension of z", fontsize=8)
    ax.set_ylabel(r"KL(q($z_i$|x) ‖ p($z_i$)) [nats]", fontsize=8)
    others = "" if live.all() else " (others grey)"
    ax.set_title(
        f"{live.sum()} of {len(live)} units active{others}, {heights.sum():.2f} nats in all",
        fontsize=8,
    )
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
