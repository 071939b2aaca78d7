"""Which pixels of an image are seen: named halves, random ones, or a picture's dark parts."""

from pathlib import Path

import matplotlib.image
import numpy as np
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.seeding import generator

SIDE = 28
NAMES = ("top", "bottom", "left", "right", "centre")


def visible_pixels(mask: str, seed: int = 0) -> Tensor:
    """The pixels that ``mask`` leaves visible, True in a flat row-major image: bool [784].

    top, bottom, left, right: that half; centre: the inner 14 x 14; random:SHARE: each pixel with
    that probability, drawn from (``seed``, "mask"); else a 28 x 28 PNG whose white is visible.
    Raises UserError where nothing or everything would be visible.
    """
    seen = _seen(mask, seed)
    if seen.all() or not seen.any():
        raise UserError(f"mask={mask} leaves nothing to infer: it shows {int(seen.sum())} of 784")
    return seen.flatten()


def _seen(mask: str, seed: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    half, quarter = SIDE // 2, SIDE // 4
    inner = (rows >= quarter) & (rows < SIDE - quarter)
    named = {
        "top": rows < half,
        "bottom": rows >= half,
        "left": columns < half,
        "right": columns >= half,
        "centre": inner & inner.T,
    }
    if mask in named:
        return named[mask]
    if mask.startswith("random:"):
        share = _share(mask)
        return torch.rand(SIDE, SIDE, generator=generator(seed, "mask")) < share
    if Path(mask).suffix.lower() == ".png":
        return _from_picture(Path(mask))
    raise UserError(
        f"mask must be one of {', '.join(NAMES)}, random:0.5 or a PNG of 28 x 28, got {mask!r}"
    )


def _share(mask: str) -> float:
    text = mask.partition(":")[2]
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise UserError(f"mask=random:SHARE needs a share between 0 and 1, got {text!r}")
    return share


def _from_picture(path: Path) -> Tensor:
    if not path.is_file():
        raise UserError(f"mask={path} does not exist")
    try:
        picture = matplotlib.image.imread(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"mask={path} is not a PNG: {error}") from error
    grey = picture[..., :3].mean(-1) if picture.ndim == 3 else picture
    if grey.shape != (SIDE, SIDE):
        raise UserError(
            f"mask={path} must be 28 x 28 pixels, got {grey.shape[1]} x {grey.shape[0]}"
        )
    return torch.from_numpy(np.asarray(grey > 0.5))
