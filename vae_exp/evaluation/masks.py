"""Which pixels of an image are visible: named halves, random ones, or a picture's white."""

import io
import os
import struct
from pathlib import Path

import matplotlib.image
import torch
from torch import Tensor

from vae_exp import files
from vae_exp.errors import Damaged, UserError, first_line
from vae_exp.probability.streams import generator

SIDE = 28
LIMIT = files.MIB  # bytes of a picture
PNG = b"\x89PNG\r\n\x1a\n"
NAMES = ("top", "bottom", "left", "right", "centre")


def visible_pixels(mask: str, seed: int = 0) -> Tensor:
    """The pixels that ``mask`` names, which are the visible ones: bool [784], row-major.

    top, bottom, left, right: that half; centre: the inner 14 x 14; random:SHARE: that share of
    all pixels, drawn from (``seed``, "mask"); else the white of a 28 x 28 PNG.
    Raises UserError if it is none of these, or shows all or nothing.
    """
    seen = _seen(mask, seed).flatten()
    if seen.all() or not seen.any():
        raise UserError(
            f"mask={mask} shows {int(seen.sum())} of {len(seen)} pixels, which leaves nothing to "
            "infer: show some and hide some"
        )
    return seen


def in_words(mask: str) -> str:
    """What is visible of an image: "its top half", "a random 50 % of it", or the PNG's name."""
    if mask in NAMES:
        return "its centre" if mask == "centre" else f"its {mask} half"
    if mask.startswith("random:"):
        return f"a random {100 * _share(mask):g} % of it"
    return f"the part white in {Path(mask).name}"


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
        order = torch.rand(SIDE * SIDE, generator=generator(seed, "mask")).argsort().argsort()
        return order < round(_share(mask) * SIDE * SIDE)
    if Path(mask).suffix.lower() == ".png":
        return _white(Path(mask).expanduser())
    raise UserError(
        f"mask must be one of {', '.join(NAMES)}, random:0.5 or a PNG of {SIDE} x {SIDE} pixels, "
        f"got {mask!r}"
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


def _white(path: Path) -> Tensor:
    if not os.path.lexists(path):
        raise UserError(f"mask={path} does not exist")
    try:
        contents = files.read(path, LIMIT)
    except Damaged as error:
        raise UserError(f"mask: {error}") from error
    if contents[:8] != PNG or contents[12:16] != b"IHDR" or len(contents) < 24:
        raise UserError(f"mask={path} is not a PNG")
    width, height = struct.unpack(">II", contents[16:24])
    if (width, height) != (SIDE, SIDE):  # told before it is unpacked
        raise UserError(f"mask={path} must be {SIDE} x {SIDE} pixels, got {width} x {height}")
    try:
        picture = torch.from_numpy(matplotlib.image.imread(io.BytesIO(contents), "png"))
    except Exception as error:
        raise UserError(f"mask={path} is not a PNG: {first_line(error)}") from error
    grey = picture[..., :3].mean(-1) if picture.dim() == 3 else picture
    return grey > 0.5
