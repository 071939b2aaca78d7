"""Which part of space can hold the mass of which image: every tile of a square is looked at.

If a bound on the mass outside of the square is known, as it is for a known prior and images of
discrete pixels, the square grows until that mass is negligible.
"""

import math
from collections.abc import Callable
from itertools import count as count_up

import torch
from torch import Tensor

from vae_exp.inference.detail import FINE, detailed
from vae_exp.inference.progress import Progress, share, silent
from vae_exp.inference.tiles import (
    DROPPED,
    SIDE,
    CountedTable,
    Support,
    Table,
    bound_of,
    centre_of,
    grid,
    offsets_of,
)

GROWTH = 1.5  # of that square, as long as mass is found in what it grew by
GROWTHS = 3  # at most, if nothing is known of the mass outside: to [−20.2, 20.2]
FIRST = 12.0  # half the side of the first square at most, if it is: a ceiling makes others cheap
LARGEST = 48.0  # half the side of the largest square, if it is: log N(48; 0, 1) is −1153
SCAN = {1: 12, 2: 3}  # points an axis of a tile in the scan, by dimension
ALIKE = 1500  # images of like peaks that are scanned together, far from the origin
CEILINGS = 256  # tiles at a time
FEW = 200  # images that cost less than a ceiling does, which is left out for them


def scan(
    source: CountedTable, rows: Tensor, progress: Progress
) -> tuple[Support, Tensor, Tensor, bool]:
    """Look at every tile of a square, which grows for the images that may have mass outside.

    These are the images for which the bound on what lies outside is not negligible or, if there is
    no bound, those that have mass in the square's border. Returns the support, the highest log
    density seen and the half-width searched, [B] each, and whether a tile had to be scanned finely.
    """
    dims, device = source.table.latent_dim, rows.device
    most = LARGEST if source.table.log_tail is None else FIRST
    count, width = len(rows), math.ceil(min(source.table.reach, most) / SIDE - 0.5)
    peak = torch.full((count,), -math.inf, dtype=torch.float64, device=device)
    left_out, half_width = peak.clone(), peak.clone()
    pending = torch.arange(count, device=device)
    tiles, pairs, seen = [grid(torch.arange(-width, width + 1, device=device), dims)], [], 0
    finely = False
    for growth in count_up():
        report = share(progress, 1 - 0.5**growth, 0.5 ** (growth + 1))
        top, bound = _scan_ring(source, rows[pending], tiles[-1], peak[pending], report)
        fine = detailed(source, tiles[-1], SCAN[dims])
        if len(fine):
            finely = True
            top, bound = _scan_finely(source, rows[pending], tiles[-1], fine, top, bound)
        peak[pending] = torch.maximum(peak[pending], top)
        active = bound > peak[pending, None] - DROPPED
        rest = bound.masked_fill(active, -math.inf).logsumexp(1) + dims * math.log(SIDE)
        left_out[pending] = torch.logaddexp(left_out[pending], rest.double())
        half_width[pending] = (width + 0.5) * SIDE
        tile, image = active.T.nonzero(as_tuple=True)
        pairs.append((tile + seen, pending[image]))
        seen += len(tiles[-1])
        outside, further = _outside(source.table, peak[pending], active, width, growth)
        left_out[pending] = torch.logaddexp(left_out[pending], outside)
        pending = pending[further]
        if not len(pending):
            break
        wider = _wider(source.table, width, peak[pending].min().item() - DROPPED)
        square = grid(torch.arange(-wider, wider + 1, device=device), dims)
        tiles.append(square[square.abs().amax(1) > width])
        width = wider
    tile, image = (torch.cat(part) for part in zip(*pairs, strict=True))
    occupied, tile = torch.unique_consecutive(tile, return_inverse=True)
    return Support(torch.cat(tiles)[occupied], tile, image, left_out), peak, half_width, finely


def _scan_finely(
    source: CountedTable, rows: Tensor, tiles: Tensor, fine: Tensor, top: Tensor, bound: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for tiles with more detail; what they hold may reach into the tiles beside them."""
    seen, held = _scan_tiles(source, rows, tiles[fine], silent, FINE)
    bound = bound.clone()
    for index, each in zip(fine, held.unbind(1), strict=True):
        beside = (tiles - tiles[index]).abs().amax(1) <= 1
        bound[:, beside] = torch.maximum(bound[:, beside], each[:, None])
    return torch.maximum(top, seen), bound


def _scan_ring(
    source: CountedTable, rows: Tensor, tiles: Tensor, peak: Tensor, progress: Progress
) -> tuple[Tensor, Tensor]:
    """As ``_scan_tiles``, but an image is not put to a tile that is ruled out for it.

    The roof does that without the decoder, and the ceiling for all images at once. peak [B] is what
    was seen so far.
    """
    if None in (source.table.roof, source.table.ceiling) or not peak.isfinite().all():
        return _scan_tiles(source, rows, tiles, progress)
    highest = _highest(source.roof, tiles)
    left = highest > peak.min() - DROPPED
    if len(rows) > FEW and left.any():
        highest[left] = _highest(source.ceiling, tiles[left])
    bound, top = highest.expand(len(rows), -1).clone(), peak.clone()
    groups = torch.split(peak.argsort(), ALIKE)
    for done, group in enumerate(groups):
        group = group.sort().values
        [kept] = (highest > peak[group].min() - DROPPED).nonzero(as_tuple=True)
        if len(kept):
            found = _scan_tiles(source, rows[group], tiles[kept], silent)
            top[group], bound[group[:, None], kept] = found
        progress((done + 1) / len(groups))
    return top, bound


def _highest(ceiling: Callable[[Tensor], Tensor], tiles: Tensor) -> Tensor:
    """The highest log density that a tile can hold, by that of any image at z [G, Z]: [T]."""
    dims = tiles.shape[1]
    per_axis = SCAN[dims]
    offsets = offsets_of(SIDE, per_axis, dims, tiles.device)
    highest = []
    for part in torch.split(tiles, CEILINGS):
        z = (centre_of(part, SIDE) + offsets[:, None]).reshape(-1, dims)
        f = ceiling(z).view(1, *[per_axis] * dims, len(part))
        highest.append(bound_of(f, tuple(range(1, dims + 1)))[0])
    return torch.cat(highest)


def _tail(table: Table, width: int) -> float | None:
    return None if table.log_tail is None else table.log_tail((width + 0.5) * SIDE)


def _outside(
    table: Table, peak: Tensor, active: Tensor, width: int, growth: int
) -> tuple[Tensor, Tensor]:
    """What is known of the mass outside a square, for images that were searched up to its border.

    active [b, T] tells which tiles of the last ring matter. Returns the log of a bound on the mass
    outside, for an image whose search ends here, and whether to search further: [b] each.
    """
    tail = _tail(table, width)
    if tail is None:
        more = active.any(1) | (growth == 0)
        last, bound = growth == GROWTHS, torch.where(more, math.inf, -math.inf)
    else:
        more = tail > peak - DROPPED
        last, bound = (width + 1) * SIDE > LARGEST, torch.full_like(peak, tail)
    further = more & (not last)
    return torch.where(further, -math.inf, bound).to(peak), further


def _wider(table: Table, width: int, negligible: float) -> int:
    """The next square: no larger than what makes the mass outside of it negligible."""
    most = math.ceil(GROWTH * width)
    while width < most:
        width += 1
        tail = _tail(table, width)
        if tail is not None and (tail <= negligible or (width + 1) * SIDE > LARGEST):
            break
    return width


def _scan_tiles(
    source: CountedTable,
    rows: Tensor,
    tiles: Tensor,
    progress: Progress,
    per_axis: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The highest log density that was seen, [B], and the highest that a tile can hold, [B, T]."""
    dims = source.table.latent_dim
    per_axis = per_axis or SCAN[dims]
    offsets = offsets_of(SIDE, per_axis, dims, rows.device)
    peak, bounds = [], []
    parts = torch.split(tiles, max(1, source.entries // (len(rows) * len(offsets))))
    axes = tuple(range(1, dims + 1))
    for done, part in enumerate(parts):
        z = (centre_of(part, SIDE) + offsets[:, None]).reshape(-1, dims)
        f = source(rows, z).view(len(rows), *[per_axis] * dims, len(part))
        peak.append(f.amax((*axes, -1)))
        bounds.append(bound_of(f, axes))
        progress((done + 1) / len(parts))
    return torch.stack(peak).amax(0).double(), torch.cat(bounds, 1)
