"""Densities over a plane: the true one as filled bands, every q as lines of its own style."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.plane import Window

# Colours that stay apart in grey (their luminances are 0.65, 0.12, 0.30, 0.50, 0.39), and dashes.
TRUE: dict[str, Any] = {"color": "#7fb5e6", "filled": True}
FULL: dict[str, Any] = {"color": "#1f1f1f", "linestyle": "--"}
DIAGONAL: dict[str, Any] = {"color": "#bd1f01", "linestyle": "-"}
ENCODER: dict[str, Any] = {"color": "#e76300", "linestyle": (0, (1, 1.2))}
OWN: dict[str, Any] = {"color": "#37742b", "linestyle": "-."}
MARGIN = 0.08  # of the width of what is drawn, on either side


def draw_contours(
    ax: Axes,
    shown: Window,
    styles: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str] | None = None,
) -> Tensor:
    """Each density's contours of 50, 80 and 95 % of its mass, in a square that just holds them.

    Returns where on the window's grid any of them lies: [H, W] bool.
    """
    held = []
    for name, log_density in shown.log_densities.items():
        label = name if labels is None else labels[name]
        levels = figures.isocontours(
            ax, shown.xs, shown.ys, log_density, label=label, **styles[name]
        )
        held.append(log_density >= levels.min())
    inside = torch.stack(held).any(0)
    xs, ys = shown.xs[inside.any(0)], shown.ys[inside.any(1)]
    half = (0.5 + MARGIN) * max(xs[-1] - xs[0], ys[-1] - ys[0]).item()
    for set_limits, axis in ((ax.set_xlim, xs), (ax.set_ylim, ys)):
        middle = (axis[0] + axis[-1]).item() / 2
        set_limits(middle - half, middle + half)
    ax.set_box_aspect(1)  # and so both axes have the same scale
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    ax.locator_params(nbins=6)
    ax.tick_params(labelsize=8)
    return inside
