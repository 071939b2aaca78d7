"""Pictures of images and of the latent plane: tensors or arrays in, a matplotlib Figure out.

Nothing here knows a model or a file, and nothing touches pyplot's global state. `page` an empty
figure, its footnote, its bytes · `images` rows and sheets of images · `latent` points, circles and
contours in the plane · `calibration` rank histograms, coverage, bars of KL · `sweeps` a number
against a knob.
"""

from vae_exp.figures.images import CELL, TILE, image_grid, image_mosaic, image_rows, tint
from vae_exp.figures.latent import (
    CLASS_COLORS,
    MASSES,
    isocontours,
    latent_axes,
    latent_scatter,
    latent_strip,
    mass_levels,
)
from vae_exp.figures.page import (
    DPI,
    INK,
    Style,
    caption,
    check_fits,
    figure,
    forget_habits,
    plain,
    png,
)

__all__ = [
    "CELL",
    "CLASS_COLORS",
    "DPI",
    "INK",
    "MASSES",
    "TILE",
    "Style",
    "caption",
    "check_fits",
    "figure",
    "forget_habits",
    "image_grid",
    "image_mosaic",
    "image_rows",
    "isocontours",
    "latent_axes",
    "latent_scatter",
    "latent_strip",
    "mass_levels",
    "plain",
    "png",
    "tint",
]
