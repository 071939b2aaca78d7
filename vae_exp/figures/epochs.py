"""Bounds and the truth over the epochs of a run."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vae_exp.figures.page import SMALL, caption, figure, plain

FEW = 6  # epochs, of which all are shown whole
# Dark to light, each with a style of its own: told apart in grey.
LINES = {
    "log_p_x": ("exact log p(x)", "black", "-", "o"),
    "iwae": ("IWAE", "#0072B2", "--", "s"),
    "elbo": ("ELBO", "#D55E00", ":", "^"),
}


def evidence_by_epoch(found: Sequence[dict[str, Any]], samples: int, about: str) -> Figure:
    """Above log p(x), IWAE and the ELBO; below how far the bounds are from it, with error bars.

    found: an epoch each, with Estimates as dicts by name; those of training images, if there are
    any, under "train", and drawn thin. A ring marks each curve's best epoch.
    """
    fig = figure(5.2, 4.6)
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    epochs = [each["epoch"] for each in found]
    names = {"log_p_x": "log_p_x", "iwae": f"iwae_{samples}", "elbo": "elbo"}
    for key, name in names.items():
        label, color, style, marker = LINES[key]
        means = [each[name]["mean"] for each in found]
        best = max(range(len(means)), key=means.__getitem__)
        label = f"{label}-{samples:,}" if key == "iwae" else label
        label += f", best at epoch {epochs[best]}"
        top.plot(epochs, means, color=color, ls=style, marker=marker, ms=3, lw=1.3, label=label)
        top.plot(epochs[best], means[best], "o", ms=10, mfc="none", mec=color)
        _thin(top, found, name, color, style)
    for key, name in (("iwae", f"gap_of_iwae_{samples}"), ("elbo", "gap")):
        label, color, style, marker = LINES[key]
        label = f"IWAE-{samples:,}" if key == "iwae" else label
        means = [each[name]["mean"] for each in found]
        errors = [each[name].get("stderr") or 0.0 for each in found]
        bottom.errorbar(
            epochs, means, errors, color=color, ls=style, marker=marker, ms=3, lw=1.3, capsize=2,
            label=label,
        )  # fmt: skip
        _thin(bottom, found, name, color, style)
    if len(found) > FEW:  # the first epochs would leave no room for the others
        shown = [part for each in found[2:] for part in (each, each.get("train")) if part]
        later = [part[name]["mean"] for part in shown for name in names.values()]
        space = 0.1 * (max(later) - min(later))
        top.set_ylim(min(later) - space, max(later) + space)
    _finish(top, "nats per image")
    _finish(bottom, "log p(x) − bound, nats")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("epoch", fontsize=8)
    last = found[-1]["log_p_x"]
    stderr = last.get("stderr") or math.nan  # of one image there is none
    error = "" if math.isnan(stderr) else f" ± {stderr:.1f}, which moves them all"
    caption(
        fig,
        plain(about),
        f"the same {last['images']:,} validation images at each epoch",
        f"last log p(x) {last['mean']:.1f}{error}".replace("-", "−"),
        "error bars: ± s.e. over images, paired",
        *_of_training(found[-1]),
    )
    return fig


def _thin(ax: Axes, found: Sequence[dict[str, Any]], name: str, color: str, style: str) -> None:
    """The same number of training images."""
    points = [(each["epoch"], each["train"][name]["mean"]) for each in found if "train" in each]
    if points:
        ax.plot(*zip(*points, strict=True), color=color, ls=style, lw=0.7, alpha=0.6)


def _of_training(last: dict[str, Any]) -> list[str]:
    images = last.get("train", {}).get("log_p_x", {}).get("images")
    return [f"thin: the first {images:,} training images"] if images else []


def _finish(ax: Axes, label: str) -> None:
    ax.set_ylabel(label, fontsize=8)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", lw=0.6)
    ax.legend(frameon=False, fontsize=SMALL)
