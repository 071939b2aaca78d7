"""Integrals of many log densities over the same line or plane, each with its error.

Space is cut into square tiles. A scan of every tile tells, for each image, which of them can hold
its mass; those alone are then summed on ever finer uniform lattices, until halving the step no
longer matters. For a smooth density of width σ a lattice of step h is off by about
2 exp(−2π²σ²/h²) an axis, so each halving takes the error to its fourth power.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.errors import UserError

Progress = Callable[[float], None]

SIDE = 0.48  # of a tile
WIDTH = 12  # tiles on either side of the middle one in the square scanned first: [−6, 6]
GROWTH = 1.5  # of that square, as long as mass is found in what it grew by
GROWTHS = 3  # at most: to [−20.6, 20.6]
SCAN = {1: 12, 2: 3}  # points an axis of a tile in the scan, by dimension
FINER = (8, 16, 32, 64, 128, 256)  # points an axis of a tile in the sums, coarse to fine
DROPPED = 25.0  # nats below an image's peak at which a tile is left out
IMAGES = 16_384  # images at a time
ENTRIES = 1 << 22  # of the largest table in memory
POINTS = 4096  # points at a time


@dataclass(frozen=True)
class Table:
    """The log densities to integrate, one an image, normalised or not.

    ``log_joint(rows, z)`` is log p(x_b, z_g) of the images ``rows`` [b] at z [G, Z], as [b, G].
    """

    log_joint: Callable[[Tensor, Tensor], Tensor]
    images: int
    latent_dim: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class Evidence:
    """log p(x) and the moments of p(z | x), per image, in float64.

    ``error`` is the larger of what the last halving of the step changed and what the halving
    before it foretells, plus a bound on the mass in the tiles that were left out and the rounding
    of the table. It is infinite where mass reaches the border of the largest square.
    """

    log_p_x: Tensor  # [B] nats
    error: Tensor  # [B] nats, of log_p_x
    converged: Tensor  # [B] whether the error is within the tolerance
    mean: Tensor  # [B, Z]
    covariance: Tensor  # [B, Z, Z]
    entropy: Tensor  # [B] nats
    step: Tensor  # [B] of the lattice settled on
    half_width: Tensor  # [B] of the square that was searched
    tolerance: float
    points: int  # z at which the density was asked for
    evaluations: int  # entries of log p(x, z) that were computed


@torch.no_grad()
def integrate(
    table: Table, *, tolerance: float = 1e-3, progress: Progress | None = None
) -> Evidence:
    """log ∫ exp(log_joint) dz of every image of a table, to ``tolerance`` nats where possible.

    ``progress`` is told the fraction that is done. Raises UserError where latent_dim > 2.
    """
    if table.latent_dim not in SCAN:
        raise UserError(
            f"the exact evidence needs latent_dim 1 or 2, got {table.latent_dim}: "
            "use an importance-weighted estimate"
        )
    blocks = torch.arange(table.images, device=table.device).split(IMAGES)
    source = _Source(table)
    parts = []
    for done, rows in enumerate(blocks):
        report = _share(progress or _silent, done / len(blocks), 1 / len(blocks))
        parts.append(_integrate_block(source, rows, tolerance, report))
    if progress is not None:
        progress(1.0)
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Evidence(
        **found, tolerance=tolerance, points=source.points, evaluations=source.evaluations
    )


class _Source:
    """A table that counts what is asked of it."""

    def __init__(self, table: Table):
        self.table = table
        self.points = 0
        self.evaluations = 0

    def __call__(self, rows: Tensor, z: Tensor) -> Tensor:
        self.points += len(z)
        self.evaluations += len(rows) * len(z)
        return self.table.log_joint(rows, z.to(self.table.dtype))


@dataclass(frozen=True)
class _Support:
    """Which tiles [T, Z] can hold mass of which image, as pairs [P] in the order of the tiles."""

    tiles: Tensor
    tile: Tensor
    image: Tensor
    left_out: Tensor  # [B] log of a bound on the mass in all other tiles
    half_width: Tensor  # [B]


def _integrate_block(
    source: _Source, rows: Tensor, tolerance: float, progress: Progress
) -> dict[str, Tensor]:
    support = _scan(source, rows, _share(progress, 0.0, 0.5))
    pending = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    result: dict[str, Tensor] = {}
    for level, per_axis in enumerate(FINER):
        report = _share(progress, 1 - 0.5 ** (level + 1), 0.5 ** (level + 2))
        sums = _sum_lattice(source, rows, support, pending, per_axis, report)
        found = sums.moments(SIDE / per_axis)
        found["error"] += torch.log1p(torch.exp(support.left_out - found["log_p_x"]))
        found["error"] += 2 * torch.finfo(source.table.dtype).eps * found["log_p_x"].abs()
        result = {
            name: torch.where(pending.view(-1, *[1] * (value.dim() - 1)), value, result[name])
            if result
            else value
            for name, value in found.items()
        }
        pending &= ~(found["error"] <= tolerance)
        if not pending.any():
            break
    result["converged"] = ~pending
    result["half_width"] = support.half_width
    return result


def _scan(source: _Source, rows: Tensor, progress: Progress) -> _Support:
    """Look at every tile of a square, which grows for the images that have mass in its border."""
    dims, device = source.table.latent_dim, rows.device
    count, width = len(rows), WIDTH
    peak = torch.full((count,), -math.inf, dtype=source.table.dtype, device=device)
    left_out = torch.full((count,), -math.inf, dtype=torch.float64, device=device)
    half_width = torch.empty(count, dtype=torch.float64, device=device)
    pending = torch.arange(count, device=device)
    tiles, pairs, seen = [_square(width, dims, device)], [], 0
    for growth in range(GROWTHS + 1):
        report = _share(progress, 1 - 0.5**growth, 0.5 ** (growth + 1))
        top, bound = _bound_tiles(source, rows[pending], tiles[-1], report)
        peak[pending] = torch.maximum(peak[pending], top)
        active = bound > peak[pending, None] - DROPPED
        rest = bound.masked_fill(active, -math.inf).logsumexp(1) + dims * math.log(SIDE)
        left_out[pending] = torch.logaddexp(left_out[pending], rest.double())
        half_width[pending] = (width + 0.5) * SIDE
        tile, image = active.T.nonzero(as_tuple=True)
        pairs.append((tile + seen, pending[image]))
        seen += len(tiles[-1])
        if growth > 0:
            pending = pending[active.any(1)]
        if not len(pending):
            break
        wider = _square(math.ceil(GROWTH * width), dims, device)
        tiles.append(wider[wider.abs().amax(1) > width])
        width = math.ceil(GROWTH * width)
    else:
        left_out[pending] = math.inf
    tile, image = (torch.cat(part) for part in zip(*pairs, strict=True))
    return _Support(torch.cat(tiles), tile, image, left_out, half_width)


def _bound_tiles(
    source: _Source, rows: Tensor, tiles: Tensor, progress: Progress
) -> tuple[Tensor, Tensor]:
    """The highest log density that was seen, [B], and the highest that a tile can hold, [B, T].

    A concave quadratic f exceeds the nearest point of a lattice of step h by at most
    ¼ h² (|f₁₁| + |f₂₂|), and h² f_ii are its second differences.
    """
    dims = source.table.latent_dim
    per_axis = SCAN[dims]
    offsets = _offsets(per_axis, dims, rows.device)
    peak, bounds = [], []
    parts = tiles.split(max(1, ENTRIES // (len(rows) * len(offsets))))
    axes = tuple(range(1, dims + 1))
    for done, part in enumerate(parts):
        z = (part * SIDE + offsets[:, None]).reshape(-1, dims)
        f = source(rows, z).view(len(rows), *[per_axis] * dims, len(part))
        top = f.amax(axes)
        bends = [f.diff(n=2, dim=axis).abs().amax(axes) for axis in axes]
        peak.append(top.amax(1))
        bounds.append(top + 0.25 * torch.stack(bends).sum(0))
        progress((done + 1) / len(parts))
    return torch.stack(peak).amax(0), torch.cat(bounds, 1)


def _sum_lattice(
    source: _Source,
    rows: Tensor,
    support: _Support,
    pending: Tensor,
    per_axis: int,
    progress: Progress,
) -> "_Sums":
    """Sums over the lattice of step SIDE / per_axis, of pending images, over their tiles."""
    dims = source.table.latent_dim
    wanted = pending[support.image]
    tile, image = support.tile[wanted], support.image[wanted]
    occupied, sizes = tile.unique_consecutive(return_counts=True)
    sums = _Sums(len(rows), dims, rows.device)
    offsets = _offsets(per_axis, dims, rows.device)
    features = _features(offsets, per_axis)
    images_of_tile = torch.split(image, sizes.tolist())
    for done, (index, images) in enumerate(zip(occupied.tolist(), images_of_tile, strict=True)):
        centre = support.tiles[index] * SIDE
        size = min(POINTS, max(1, ENTRIES // len(images)))
        for u, feature in zip(offsets.split(size), features.split(size), strict=True):
            sums.add(images, source(rows[images], centre + u), feature, centre)
        progress((done + 1) / len(occupied))
    return sums


class _Sums:
    """Running sums Σ w φ(z) in float64 with w = exp(f − unit), the unit being the largest f yet."""

    def __init__(self, images: int, dims: int, device: torch.device):
        zeros = torch.zeros(images, dtype=torch.float64, device=device)
        self.unit = zeros - math.inf
        self.nested = torch.stack([zeros] * 3, 1)  # Σ w over steps h, 2h, 4h
        self.first = torch.stack([zeros] * dims, 1)  # Σ w z
        self.second = torch.stack([self.first] * dims, 1)  # Σ w z zᵀ
        self.log_density = zeros.clone()  # Σ w f

    def add(self, images: Tensor, f: Tensor, features: Tensor, centre: Tensor) -> None:
        """Take in f [b, G] of some images at points whose features are [G, 3 + Z + Z²]."""
        dims = len(centre)
        unit = torch.maximum(self.unit[images], f.amax(1).double())
        shrink = torch.exp(self.unit[images] - unit)
        w = torch.exp(f - unit[:, None].to(f.dtype))
        sums = (w @ features.to(f.dtype)).double()
        nested, u, uu = torch.split(sums, [3, dims, dims * dims], 1)
        total = nested[:, :1]
        cross = u[:, :, None] * centre
        uu = uu.unflatten(1, (dims, dims)) + cross + cross.mT
        self.unit[images] = unit
        for running, new in (
            (self.nested, nested),
            (self.first, u + total * centre),
            (self.second, uu + total[:, :, None] * centre[:, None] * centre),
            (self.log_density, torch.linalg.vecdot(w, f).double()),
        ):
            old = running[images]
            running[images] = old * shrink.view(-1, *[1] * (old.dim() - 1)) + new

    def moments(self, step: float) -> dict[str, Tensor]:
        """log ∫ exp f with the error of its step, and the moments of the normalised density."""
        dims = self.first.shape[1]
        total = self.nested[:, 0]
        log_integral = total.log() + self.unit + dims * math.log(step)
        log_steps = self.nested.log() + dims * math.log(2) * torch.arange(3).to(total.device)
        last, earlier = log_steps.diff(dim=1).abs().unbind(1)
        # A change of a in the error before becomes a⁴ / 8 by the law above; the logs of empty
        # lattices differ by nothing that can be trusted.
        error = torch.maximum(last, earlier**4 / 8).nan_to_num(nan=math.inf)
        mean = self.first / total[:, None]
        second = self.second / total[:, None, None]
        return {
            "log_p_x": log_integral,
            "error": error,
            "mean": mean,
            "covariance": second - mean[:, :, None] * mean[:, None, :],
            "entropy": log_integral - self.log_density / total,
            "step": torch.full_like(total, step),
        }


def _square(width: int, dims: int, device: torch.device | str) -> Tensor:
    """Integer coordinates of the tiles from −width to width an axis: [T, Z]."""
    axis = torch.arange(-width, width + 1, device=device)
    return torch.cartesian_prod(*[axis] * dims).reshape(-1, dims).double()


def _offsets(per_axis: int, dims: int, device: torch.device | str) -> Tensor:
    """The points of a tile about its centre, in the middle of equal cells: [G, Z]."""
    axis = torch.arange(per_axis, dtype=torch.float64, device=device)
    axis = ((axis + 0.5) / per_axis - 0.5) * SIDE
    return torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)


def _features(offsets: Tensor, per_axis: int) -> Tensor:
    """What is summed over the points: 1 at all, at each 2nd and 4th an axis; u; u uᵀ."""
    index = torch.round((offsets / SIDE + 0.5) * per_axis - 0.5).long()
    nested = [(index % every == 0).all(1, keepdim=True).double() for every in (1, 2, 4)]
    outer = offsets[:, :, None] * offsets[:, None, :]
    return torch.cat([*nested, offsets, outer.flatten(1)], 1)


def _silent(fraction: float) -> None:
    """Progress that nobody asked for."""


def _share(progress: Progress, start: float, length: float) -> Progress:
    """The progress of a part, told as that of the whole."""
    return lambda fraction: progress(start + length * fraction)
