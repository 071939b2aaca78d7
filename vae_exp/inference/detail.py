"""Tiles in which log densities change between the points of a scan, and so are scanned more finely.

A scan asks for the log density of every image at a few points a tile, and could miss what a
decoder says in a small part of one. What the decoder says needs no image, so it can be asked for
at many more points.
"""

import torch
from torch import Tensor

from vae_exp.inference.tiles import SIDE, CountedTable, centre_of, offsets_of

FINE = 12  # points an axis of a tile at which the decoder is asked, 0.04 apart
LEAST = 1.0  # in units of what the decoder says, summed: a logit moves a log density by no more
NEAR = 2 / 3  # of the prior's reach: further out little mass can hide
NUMBERS = 1 << 24  # that the decoder says at a time, or those of one tile


def detailed(source: CountedTable, tiles: Tensor, per_axis: int) -> Tensor:
    """Which tiles [T, Z] a scan of ``per_axis`` points an axis may have misread: their indices.

    They lie well within the prior's reach, and there the decoder changes more from one fine point
    to the next than from one point of the scan to the next, which are farther apart.
    """
    distance: Tensor = torch.linalg.vector_norm(centre_of(tiles, SIDE), dim=1)
    near: Tensor = (distance <= NEAR * source.table.reach).nonzero().flatten()
    if source.table.outline is None or per_axis >= FINE or not len(near):
        return near[:0]
    of_one = FINE ** tiles.shape[1] * source.outline(centre_of(tiles[near[:1]], SIDE)).numel()
    rough = [
        _change(source, part, FINE) > _change(source, part, per_axis) + LEAST
        for part in tiles[near].split(max(1, NUMBERS // of_one))
    ]
    return near[torch.cat(rough)]


def _change(source: CountedTable, tiles: Tensor, per_axis: int) -> Tensor:
    """The largest Σ_k |a_k(z) − a_k(z')| of neighbours z, z' on a lattice in each tile: [T]."""
    dims = tiles.shape[1]
    offsets = offsets_of(SIDE, per_axis, dims, tiles.device)
    z = (centre_of(tiles, SIDE)[:, None] + offsets).reshape(-1, dims)
    said = source.outline(z).reshape(len(tiles), *[per_axis] * dims, -1)
    axes = range(1, dims + 1)
    steps = [said.diff(dim=axis).abs().sum(-1).flatten(1).amax(1) for axis in axes]
    return torch.stack(steps).amax(0)
