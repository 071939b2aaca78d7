"""Which values images may hold for a likelihood, and how others are refused."""

import torch
from torch import Tensor

from vae_exp.errors import UserError


def check_within(x: Tensor) -> None:
    """Raise UserError if a value of a grey image is outside [0, 1]."""
    if not ((x >= 0) & (x <= 1)).all():
        raise UserError(
            f"x must hold grey values in [0, 1], got {span(x)}: give pixels / 255, as "
            "data.binarization=none does"
        )


def check_finite(x: Tensor) -> None:
    """Raise UserError if a value is nan or infinite."""
    if not torch.isfinite(x).all():
        raise UserError(f"x must hold finite grey values, got {span(x)}")


def span(x: Tensor) -> str:
    """The first value that is not finite, else the range of the values."""
    odd = x[~torch.isfinite(x)]
    return f"{odd[0]:.3g}" if len(odd) else f"values from {x.min():.3g} to {x.max():.3g}"
