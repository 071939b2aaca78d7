"""Space in square tiles: log densities over it, and what a tile can hold at most."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 0.48  # of a tile in the scan
DROPPED = 25.0  # nats below an image's peak at which a tile is left out
TILES = 1 << 14  # of one image at most


@dataclass(frozen=True)
class Table:
    """The log densities to integrate, one an image, normalised or not.

    ``log_joint(rows, z)`` is log p(x_b, z_g) of the images ``rows`` [b], distinct and in order, at
    z [G, Z], as [b, G].
    """

    log_joint: Callable[[Tensor, Tensor], Tensor]
    images: int
    latent_dim: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"
    reach: float = 6.0  # half the side of the box that is scanned first
    # Half the side of a box -> a bound on any image's log mass outside of it; None if unknown.
    log_tail: Callable[[float], float | None] | None = None
    # z [G, Z] -> the highest log density of any image at z [G]; None if unknown.
    ceiling: Callable[[Tensor], Tensor] | None = None
    # z [G, Z] -> the same less tightly, but without asking the decoder; None if unknown.
    roof: Callable[[Tensor], Tensor] | None = None
    # z [G, Z] -> what tells where the decoder changes, whatever the image [G, ..]; None if unknown.
    outline: Callable[[Tensor], Tensor] | None = None


class CountedTable:
    """A table that counts what is asked of it."""

    def __init__(self, table: Table, entries: int):
        self.table = table
        self.entries = entries
        self.points = 0
        self.evaluations = 0

    def ceiling(self, z: Tensor) -> Tensor:
        """The highest log density of any image: [G]."""
        assert self.table.ceiling is not None
        return self.table.ceiling(z.to(self.table.dtype))

    def roof(self, z: Tensor) -> Tensor:
        """No less than that, and at no cost: [G]."""
        assert self.table.roof is not None
        return self.table.roof(z.to(self.table.dtype))

    def outline(self, z: Tensor) -> Tensor:
        """What the decoder says, whatever the image: [G, ..]."""
        assert self.table.outline is not None
        return self.table.outline(z.to(self.table.dtype))

    def __call__(self, rows: Tensor, z: Tensor) -> Tensor:
        self.points += len(z)
        self.evaluations += len(rows) * len(z)
        return self.table.log_joint(rows, z.to(self.table.dtype))


@dataclass(frozen=True)
class Support:
    """Which tiles can hold mass of which image, as pairs [P] in the order of the tiles.

    A tile is its number along each axis, counted from the lower end of the middle tile of the
    scan. Its cuts into 2^Z are 2 tile + {0, 1} an axis.
    """

    tiles: Tensor  # [T, Z]
    tile: Tensor  # [P]
    image: Tensor  # [P]
    left_out: Tensor  # [B] log of a bound on the mass in all other tiles

    def centre(self, index: int, side: float) -> Tensor:
        return centre_of(self.tiles[index], side)

    def narrow(
        self,
        bounds: Tensor,
        peak: Tensor,
        pending: Tensor,
        cuts: int,
        side: float,
        *,
        beside: bool = False,
    ) -> "Support":
        """Cut the tiles into parts of a side and keep those that matter to a pending image.

        bounds [P, cuts^Z] and peak [B] are the highest log densities that the parts can hold, and
        that were seen. With ``beside`` the parts beside these are kept too, as edges may lie
        between their points. An image that would need too many tiles is left with none.
        """
        dims = self.tiles.shape[1]
        matters = bounds > peak[self.image, None] - DROPPED
        fraction = torch.exp(bounds - peak[self.image, None]).masked_fill(matters, 0).sum(1)
        lost = torch.zeros_like(peak).index_add(0, self.image, fraction)
        left_out = torch.logaddexp(self.left_out, lost.log() + peak + dims * math.log(side))
        left_out = torch.where(pending, left_out, self.left_out)
        parts = cuts**dims
        key = self.tile[:, None] * parts + torch.arange(parts, device=peak.device)
        kept = matters & pending[self.image, None]
        sizes = torch.bincount(self.image, kept.sum(1), len(peak))
        kept &= (sizes <= TILES)[self.image, None]
        image = self.image[:, None].expand(-1, parts)[kept]
        corner = grid(torch.arange(cuts, device=peak.device), dims)
        tiles = cuts * self.tiles[key[kept] // parts] + corner[key[kept] % parts]
        if beside:
            around = grid(torch.arange(-1, 2, device=peak.device), dims)
            tiles = (tiles[:, None] + around).flatten(0, 1)
            image = image.repeat_interleave(len(around))
        return Support.of(tiles, image, left_out)

    @classmethod
    def of(cls, tiles: Tensor, image: Tensor, left_out: Tensor) -> "Support":
        """Pairs of a tile [P, Z] and an image [P], each pair once and in the order of the tiles."""
        if not len(tiles):
            return cls(tiles, image, image, left_out)
        low, sides = tiles.amin(0), tiles.amax(0) - tiles.amin(0) + 1
        place = torch.zeros_like(image)
        for axis, side in zip((tiles - low).unbind(1), sides, strict=True):
            place = place * side + axis
        # One number a pair: rows of several are sorted fifty times as slowly.
        pair = (place * len(left_out) + image).unique()
        place, tile = (pair // len(left_out)).unique_consecutive(return_inverse=True)
        tiles = low + torch.stack(torch.unravel_index(place, tuple(sides.tolist())), 1)
        return cls(tiles, tile, pair % len(left_out), left_out)


def bound_of(f: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The highest value that f can have among and around its points along some axes.

    A concave quadratic exceeds the nearest point of a lattice of step h by at most
    ¼ h² (|f₁₁| + |f₂₂|), and h² f_ii are its second differences.
    """
    bends = [f.diff(n=2, dim=axis).abs().amax(axes) for axis in axes]
    return f.amax(axes) + 0.25 * torch.stack(bends).sum(0)


def grid(axis: Tensor, dims: int) -> Tensor:
    """Every point with its coordinates on an axis, the last running fastest: [G, Z]."""
    return torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)


def centre_of(tiles: Tensor, side: float) -> Tensor:
    """The middle of tiles [.., Z] of a side."""
    return (tiles.double() + 0.5) * side - 0.5 * SIDE


def offsets_of(side: float, per_axis: int, dims: int, device: torch.device) -> Tensor:
    """The points of a tile about its centre, in the middle of equal cells: [G, Z]."""
    axis = torch.arange(per_axis, dtype=torch.float64, device=device)
    return grid(((axis + 0.5) / per_axis - 0.5) * side, dims)
