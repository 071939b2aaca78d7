"""Integrals of many log densities over the same line or plane, each with its error.

Space is cut into square tiles. A scan of every tile tells, for each image, which of them can hold
its mass; those alone are summed on ever finer uniform lattices, and themselves cut ever finer,
until halving the step no longer matters. For a smooth density of width σ a lattice of step h is
off by about 2 exp(−2π²σ²/h²) an axis, so each halving takes the error to its fourth power.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.inference.detail import FINE
from vae_exp.inference.progress import Progress, share, silent
from vae_exp.inference.scan import SCAN, scan
from vae_exp.inference.tiles import SIDE, CountedTable, Support, Table, bound_of, offsets_of

# Side of a tile and points an axis in it: the step halves from 0.06 to 0.0005.
LEVELS = ((SIDE, 8), *((SIDE / cut, 16) for cut in (1, 2, 4, 8, 16, 32, 64)))
# After a fine scan: the first has its points, so that what it saw is seen again.
FINELY = tuple((SIDE / 2**halving, FINE) for halving in range(8))
FLOOR = 1e-8  # nats: no error is said to be smaller, since bounds on it are rough themselves
SLOW, ROUGH = 1e4, 1e-5  # beyond which a sum does not converge as that of a smooth density does
ENTRIES = 1 << 22  # of the largest table in memory


@dataclass(frozen=True)
class Integral:
    """log p(x) and the moments of p(z | x), per image, in float64.

    ``error`` is the larger of what the last halving of the step changed and what the halving
    before it foretells, of a smooth density or of one with edges, plus a bound on the mass in the
    tiles that were left out and the rounding of the table. It is infinite if mass reaches the
    border of the largest square.
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
    estimated: bool = False  # whether the error is one over random shifts


@torch.no_grad()
def integrate(
    table: Table,
    *,
    tolerance: float = 1e-3,
    entries: int = ENTRIES,
    progress: Progress | None = None,
) -> Integral:
    """log ∫ exp(log_joint) dz of every image of a table, to ``tolerance`` nats if possible.

    No more than ``entries`` of the table are in memory at a time, 256 at least.
    ``progress`` is told the fraction that is done. Raises UserError if latent_dim > 2.
    """
    if table.latent_dim not in SCAN:
        raise UserError(
            f"the exact evidence needs latent_dim 1 or 2, got {table.latent_dim}: "
            "use an importance-weighted estimate"
        )
    images = max(1, entries // 16**2)
    blocks = torch.split(torch.arange(table.images, device=table.device), images)
    source = CountedTable(table, entries)
    parts = []
    for done, rows in enumerate(blocks):
        report = share(progress or silent, done / len(blocks), 1 / len(blocks))
        parts.append(_integrate_block(source, rows, tolerance, report))
    if progress is not None:
        progress(1.0)
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Integral(
        **found,
        tolerance=tolerance,
        points=source.points,
        evaluations=source.evaluations,
        estimated=False,
    )


def _integrate_block(
    source: CountedTable, rows: Tensor, tolerance: float, progress: Progress
) -> dict[str, Tensor]:
    support, peak, half_width, finely = scan(source, rows, share(progress, 0.0, 0.5))
    levels = FINELY if finely else LEVELS
    pending = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    result: dict[str, Tensor] = {}
    for level, (side, per_axis) in enumerate(levels):
        report = share(progress, 1 - 0.5 ** (level + 1), 0.5 ** (level + 2))
        finer_side = levels[min(level + 1, len(levels) - 1)][0]
        cuts = round(side / finer_side)
        sums, bounds = _sum_lattice(source, rows, support, side, per_axis, cuts, report)
        found = sums.moments(side / per_axis)
        beyond = torch.log1p(torch.exp(support.left_out - found["log_p_x"]))
        beyond += 2 * torch.finfo(source.table.dtype).eps * found["log_p_x"].abs() + FLOOR
        # Where what no step can mend is too much already, the step's own part is enough to stop.
        resolved = found["error"] <= tolerance - torch.where(beyond < tolerance, beyond, 0)
        found["error"] += beyond
        for name, value in found.items():
            old = result.get(name, value)
            result[name] = torch.where(pending.view(-1, *[1] * (value.dim() - 1)), value, old)
        peak = torch.maximum(peak, sums.unit)
        support = support.narrow(bounds, peak, pending & ~resolved, cuts, finer_side, beside=finely)
        pending = torch.bincount(support.image, minlength=len(rows)) > 0
        if not pending.any():
            break
    return result | {"converged": result["error"] <= tolerance, "half_width": half_width}


def _sum_lattice(
    source: CountedTable,
    rows: Tensor,
    support: Support,
    side: float,
    per_axis: int,
    cuts: int,
    progress: Progress,
) -> tuple["_Sums", Tensor]:
    """Sums over the points of the tiles, and the bounds [P, cuts^Z] of the tiles' parts."""
    dims = source.table.latent_dim
    sums = _Sums(len(rows), dims, rows.device)
    offsets = offsets_of(side, per_axis, dims, rows.device)
    features = _features(offsets, side, per_axis).to(source.table.dtype)
    patches = [cuts, per_axis // cuts] * dims
    within = tuple(range(2, 2 * dims + 1, 2))
    bounds = [offsets.new_empty(0, cuts**dims)]
    images_of_tile = torch.split(support.image, support.tile.bincount().tolist())
    for index, images in enumerate(images_of_tile):
        centre = support.centre(index, side)
        f = source(rows[images], centre + offsets)
        sums.add(images, f, features, centre)
        bounds.append(bound_of(f.view(-1, *patches), within).flatten(1).double())
        progress((index + 1) / len(images_of_tile))
    return sums, torch.cat(bounds)


class _Sums:
    """Running sums Σ w φ(z) in float64 with w = exp(f − unit), the unit being the largest f yet."""

    def __init__(self, images: int, dims: int, device: torch.device):
        zeros = torch.zeros(images, dtype=torch.float64, device=device)
        self.unit = zeros - math.inf
        self.every_fourth = torch.stack([zeros] * 4**dims, 1)  # Σ w over each lattice of step 4h
        self.first = torch.stack([zeros] * dims, 1)  # Σ w z
        self.second = torch.stack([self.first] * dims, 1)  # Σ w z zᵀ
        self.log_density = zeros.clone()  # Σ w f

    def add(self, images: Tensor, f: Tensor, features: Tensor, centre: Tensor) -> None:
        """Take in f [b, G] of some images at the points of a tile."""
        dims = len(centre)
        unit = torch.maximum(self.unit[images], f.amax(1).double())
        shrink = torch.exp(self.unit[images] - unit)
        w = torch.exp(f - unit[:, None].to(f.dtype))
        sums = (w @ features).double()
        every_fourth, u, uu = torch.split(sums, [4**dims, dims, dims * dims], 1)
        total = every_fourth.sum(1, keepdim=True)
        cross = u[:, :, None] * centre
        uu = uu.view(-1, dims, dims) + cross + cross.mT
        self.unit[images] = unit
        for running, new in (
            (self.every_fourth, every_fourth),
            (self.first, u + total * centre),
            (self.second, uu + total[:, :, None] * centre[:, None] * centre),
            (self.log_density, torch.linalg.vecdot(w, f).double()),
        ):
            old = running[images]
            running[images] = old * shrink.view(-1, *[1] * (old.dim() - 1)) + new

    def moments(self, step: float) -> dict[str, Tensor]:
        """log ∫ exp f with the error of its step, and the moments of the normalised density.

        The points of step h are 2^Z shifted lattices of step 2h and 4^Z of step 4h. How far those
        of step 2h are from the whole is the error, and so is, by the law above, a⁴ / 8 if those
        of step 4h are a away: no accident of where the mass lies between the points hides from
        all of them. If those of step 2h are much further away than the law foretells, the density
        has edges: its error falls as the step does, and is a / 4.
        """
        dims = self.first.shape[1]
        # An image with no tile at all had no peak: its log density is not a number.
        total = self.every_fourth.sum(1)
        total = torch.where(total > 0, total, math.nan)
        log_integral = total.log() + self.unit + dims * math.log(step)
        halves = tuple(range(1, 2 * dims, 2))
        every_second = self.every_fourth.view(-1, *[2] * (2 * dims)).sum(halves).flatten(1)
        twice, fourfold = (
            (lattices.shape[1] * lattices / total[:, None]).log().abs().amax(1)
            for lattices in (every_second, self.every_fourth)
        )
        foretold = fourfold**4 / 8
        slow = twice > SLOW * foretold + ROUGH
        mean = self.first / total[:, None]
        second = self.second / total[:, None, None]
        return {
            "log_p_x": log_integral,
            "error": torch.maximum(twice, torch.where(slow, fourfold / 4, foretold)),
            "mean": mean,
            "covariance": second - mean[:, :, None] * mean[:, None, :],
            "entropy": log_integral - self.log_density / total,
            "step": torch.full_like(total, step),
        }


def _features(offsets: Tensor, side: float, per_axis: int) -> Tensor:
    """What is summed over the points: 1 on each lattice of every fourth; u; u uᵀ. [G, ..]"""
    dims = offsets.shape[1]
    index = torch.round((offsets / side + 0.5) * per_axis - 0.5).long() % 4
    lattice = (index * 4 ** torch.arange(dims - 1, -1, -1, device=index.device)).sum(1)
    one_hot = torch.eye(4**dims, dtype=offsets.dtype, device=index.device)[lattice]
    outer = offsets[:, :, None] * offsets[:, None, :]
    return torch.cat([one_hot, offsets, outer.flatten(1)], 1)
