"""Which pixels of an image are visible: named halves, random ones, or a picture's white."""

import io
import math
import os
import struct
from pathlib import Path

import matplotlib.image
import torch
from torch import Tensor

from vae_exp import files
from vae_exp.errors import Damaged, UserError, first_line
from vae_exp.models.contracts import SHAPE, Shape
from vae_exp.probability.streams import generator

LIMIT = files.MIB  # bytes of a picture
PNG = b"\x89PNG\r\n\x1a\n"
NAMES = ("top", "bottom", "left", "right", "centre")


def visible_pixels(mask: str, seed: int = 0, shape: Shape = SHAPE) -> Tensor:
    """The pixels that ``mask`` names, which are the visible ones: bool [D], row-major.

    top, bottom, left, right: that half; centre: half of the rows and of the columns; random:SHARE:
    that share of all pixels, drawn from (``seed``, "mask"); else the white of a PNG that is as
    large as the images of ``shape``. The colours of a pixel are seen together.
    Raises UserError if it is none of these, or shows all or nothing.
    """
    seen = _seen(mask, seed, *shape[:2]).flatten()
    seen = seen.repeat_interleave(math.prod(shape[2:]))
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


def check(mask: str) -> None:
    """Raise UserError if ``mask`` is nothing that can be one, whatever the images' shape."""
    if mask in NAMES:
        return
    if mask.startswith("random:"):
        _share(mask)
    elif Path(mask).suffix.lower() == ".png":
        _png(Path(mask).expanduser())
    else:
        raise UserError(
            f"mask must be one of {', '.join(NAMES)}, random:0.5 or a PNG of the images' size, "
            f"got {mask!r}"
        )


def _seen(mask: str, seed: int, height: int, width: int) -> Tensor:
    check(mask)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inner = (rows >= height // 4) & (rows < height - height // 4)
    named = {
        "top": rows < height // 2,
        "bottom": rows >= height // 2,
        "left": columns < width // 2,
        "right": columns >= width // 2,
        "centre": inner & (columns >= width // 4) & (columns < width - width // 4),
    }
    if mask in named:
        return named[mask]
    if mask.startswith("random:"):
        draws = torch.rand(height * width, generator=generator(seed, "mask"))
        return draws.argsort().argsort() < round(_share(mask) * height * width)
    return _white(Path(mask).expanduser(), height, width)


def _share(mask: str) -> float:
    text = mask.partition(":")[2]
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise UserError(f"mask=random:SHARE needs a share between 0 and 1, got {text!r}")
    return share


def _png(path: Path) -> tuple[bytes, int, int]:
    """A PNG's bytes, its height and its width."""
    if not os.path.lexists(path):
        raise UserError(f"mask={path} does not exist")
    try:
        contents = files.read(path, LIMIT)
    except Damaged as error:
        raise UserError(f"mask: {error}") from error
    if contents[:8] != PNG or contents[12:16] != b"IHDR" or len(contents) < 24:
        raise UserError(f"mask={path} is not a PNG")
    width, height = struct.unpack(">II", contents[16:24])
    return contents, height, width


def _white(path: Path, height: int, width: int) -> Tensor:
    contents, *size = _png(path)
    if size != [height, width]:  # told before it is unpacked
        raise UserError(f"mask={path} must be {width} x {height} pixels, got {size[1]} x {size[0]}")
    try:
        picture = torch.from_numpy(matplotlib.image.imread(io.BytesIO(contents), "png"))
    except Exception as error:
        raise UserError(f"mask={path} is not a PNG: {first_line(error)}") from error
    grey = picture[..., :3].mean(-1) if picture.dim() == 3 else picture
    return grey > 0.5
