"""Integrals of many log densities over space, each by Sobol points of its own, with their errors.

A scan with points that all densities share tells where each has its mass. A mixture of Student's t
is fitted there (Cappé et al. 2008, arXiv:0710.4242), and importance sampling from this mixture is
done with a few randomly shifted copies of the same Sobol points. How the copies differ is the
error. It is *estimated*: a mode that no point of the scan saw shows in no error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from vae_exp.inference.lattice import ENTRIES, FLOOR, Integral
from vae_exp.inference.progress import Progress
from vae_exp.inference.svi import LogJoint
from vae_exp.inference.tiles import CountedTable, Table
from vae_exp.probability.streams import generator

SCANNED = 1 << 15  # points that all densities share
SPREAD = 0.25  # of the scan's standard deviation, in units of the reach: 1.5 for N(0, I)
FREEDOM = 5.0  # degrees, of a Student's t
MODES = 6  # parts of a mixture at most, beside the wide one
APART = 0.6  # between the starts of two parts, in units of the prior's standard deviation
DROPPED = 15.0  # nats below the best start at which there is no further part
WIDE = 0.05  # weight of a part as wide as the prior: what falls between the others is not lost
FITTED = 256  # points for a fit of the mixture
FITS = (3, 12)  # at least, and at most: as long as fewer than GOOD of the points are effective
GOOD = 0.3
ENOUGH = 30.0  # effective points in a fit at least: weights are flattened until there are
SHIFTS = 8  # independent copies of the points
FIRST, LAST = 128, 1 << 13  # points of each copy
ERRORS = 3.0  # standard errors over the copies that the error is
FAR = 6.0  # standard deviations from all parts at which a point of the scan was left out
ROWS = 2048  # z at a time


@torch.no_grad()
def integrate(
    table: Table,
    of_images: Callable[[Tensor], LogJoint],
    *,
    tolerance: float = 1e-2,
    seed: int = 0,
    entries: int = ENTRIES,
    progress: Progress | None = None,
) -> Integral:
    """log ∫ exp(log_joint) dz of every image of a table, to ``tolerance`` nats if possible.

    ``of_images(rows)`` is the log joint of some images at z of their own: [S, b, Z] -> [S, b].
    The error is ERRORS standard errors, and the share of the mass that the scan saw far from where
    it was summed. ``step`` and ``half_width`` are nan.
    """
    source = CountedTable(table, entries)
    rows = torch.arange(table.images, device=table.device)
    blocks = torch.split(rows, max(1, entries // SCANNED))
    parts = []
    for done, block in enumerate(blocks):
        parts.append(_integrate_block(source, of_images, block, tolerance, seed))
        if progress is not None:
            progress((done + 1) / len(blocks))
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    nothing = torch.full_like(found["log_p_x"], math.nan)
    return Integral(
        **found,
        converged=found["error"] <= tolerance,
        step=nothing,
        half_width=nothing,
        tolerance=tolerance,
        points=source.points,
        evaluations=source.evaluations,
        estimated=True,
    )


@dataclass(frozen=True)
class _Mixture:
    """For each image Σ_k weight_k t(z; mean_k, scale_k), the last part being the wide one.

    weight [b, K], mean [b, K, Z] and lower-triangular scale [b, K, Z, Z]. The density of a part is
    a product of Student's t in ε = scale⁻¹ (z − mean).
    """

    weight: Tensor
    mean: Tensor
    scale: Tensor

    def at(self, images: Tensor) -> "_Mixture":
        return _Mixture(self.weight[images], self.mean[images], self.scale[images])

    def set(self, images: Tensor, other: "_Mixture") -> None:
        """Put those of some images in the place of their old ones."""
        for mine, new in (
            (self.weight, other.weight),
            (self.mean, other.mean),
            (self.scale, other.scale),
        ):
            mine[images] = new

    def sample(self, points: Tensor) -> Tensor:
        """z [S, b, Z] from uniform points [S, Z + 1], the last of which chooses the part."""
        noise = torch.from_numpy(_student().ppf(points[:, :-1].numpy())).to(self.mean)
        choice = points[:, -1].to(self.weight).expand(len(self.weight), -1).contiguous()
        part = torch.searchsorted(self.weight.cumsum(1), choice).clamp(max=len(self.weight[0]) - 1)
        image = torch.arange(len(self.weight), device=part.device)[:, None]
        scale, mean = self.scale[image, part], self.mean[image, part]  # [b, S, ..]
        return (mean + torch.einsum("bsij,sj->bsi", scale, noise)).transpose(0, 1)

    def noise_of(self, z: Tensor) -> Tensor:
        """ε of z [S, b, Z] in each part: [S, b, K, Z]."""
        inverse = torch.linalg.inv(self.scale)
        return torch.einsum("bkij,sbkj->sbki", inverse, z[:, :, None] - self.mean)

    def log_parts(self, z: Tensor) -> Tensor:
        """log weight_k t(z; k): [S, b, K]."""
        square = self.noise_of(z).square()
        log_density = (-(FREEDOM + 1) / 2 * torch.log1p(square / FREEDOM)).sum(-1)
        constant = z.shape[-1] * float(_student().logpdf(0.0))
        log_volume = self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_parts: Tensor = log_density + constant - log_volume + self.weight.log()
        return log_parts

    def refitted(self, z: Tensor, log_w: Tensor) -> "_Mixture":
        """One step towards the target from weighted draws: z [S, b, Z], log w [S, b].

        Each part moves to the moments of what it is responsible for; a part with few effective
        points stays as wide as it was.
        """
        w = _flattened(log_w).softmax(0)[..., None] * self.log_parts(z).softmax(-1)  # [S, b, K]
        w = w[..., :-1]
        mass = w.sum(0)
        share = w / mass.clamp(min=1e-12)
        count = 1 / share.square().sum(0).clamp(min=1e-12)
        mean = torch.einsum("sbk,sbi->bki", share, z)
        old_mean, old_scale = self.mean[:, :-1], self.scale[:, :-1]
        trust = (count / (count + 5) * (mass > 1e-6))[..., None]
        mean = trust * mean + (1 - trust) * old_mean
        centred = z[:, :, None] - mean
        covariance = torch.einsum("sbk,sbki,sbkj->bkij", share, centred, centred)
        trust = trust[..., None]
        covariance = trust * covariance + (1 - trust) * (old_scale @ old_scale.mT)
        tiny = 1e-10 * torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        weight = (mass / mass.sum(1, keepdim=True)).clamp(min=0.01)
        weight = (1 - WIDE) * weight / weight.sum(1, keepdim=True)
        return _Mixture(
            torch.cat([weight, self.weight[:, -1:]], 1),
            torch.cat([mean, self.mean[:, -1:]], 1),
            torch.cat([torch.linalg.cholesky(covariance + tiny), self.scale[:, -1:]], 1),
        )


def _integrate_block(
    source: CountedTable,
    of_images: Callable[[Tensor], LogJoint],
    rows: Tensor,
    tolerance: float,
    seed: int,
) -> dict[str, Tensor]:
    dims, device = source.table.latent_dim, rows.device
    z, log_scan = _scan(source, rows, seed)
    mixture = _starts(z, log_scan, source.table.reach)
    sobol = SobolEngine(dims + 1).draw(LAST, dtype=torch.float64)

    def weighed(mixture: _Mixture, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """z [S, b, Z] and their log joints [S, b]."""
        drawn, log_joint = mixture.sample(points), of_images(rows[images])
        source.points += len(points)
        source.evaluations += drawn[..., 0].numel()
        blocks = drawn.to(source.table.dtype).split(max(1, ROWS // len(images)))
        return drawn, torch.cat([log_joint(block).double() for block in blocks])

    everyone = torch.arange(len(rows), device=device)
    pending = everyone
    for fit in range(FITS[1]):
        points = _shifted(sobol[:FITTED], generator(seed, "quasi", "fit", fit))
        q = mixture.at(pending)
        drawn, f = weighed(q, pending, points)
        log_w = _comparable(f - q.log_parts(drawn).logsumexp(-1))
        mixture.set(pending, q.refitted(drawn, log_w))
        if fit + 1 >= FITS[0]:
            pending = pending[1 / log_w.softmax(0).square().sum(0) < GOOD * FITTED]
        if not len(pending):
            break

    log_left_out = _log_left_out(mixture, z, log_scan)
    result: dict[str, Tensor] = {}
    pending, sums, done, size = everyone, _ShiftedSums(len(rows), dims, device), 0, FIRST
    while len(pending):
        q = mixture.at(pending)
        for shift in range(SHIFTS):
            points = _shifted(sobol[done:size], generator(seed, "quasi", "shift", shift))
            drawn, f = weighed(q, pending, points)
            sums.add(pending, shift, drawn, f, f - q.log_parts(drawn).logsumexp(-1))
        found = sums.moments(size)
        found["error"] += torch.exp(log_left_out - found["log_p_x"]).clamp(max=1e6) + FLOOR
        for name, value in found.items():
            result.setdefault(name, value.clone())[pending] = value[pending]
        pending = pending[~(result["error"][pending] <= tolerance)]
        done, size = size, 2 * size
        if size > LAST:
            break
    return result


def _scan(source: CountedTable, rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Points z [G, Z] that all images share, and their log weights [b, G]."""
    dims = source.table.latent_dim
    points = _shifted(
        SobolEngine(dims).draw(SCANNED, dtype=torch.float64), generator(seed, "quasi", "scan")
    )
    std = SPREAD * source.table.reach
    noise = torch.special.ndtri(points.clamp(1e-12, 1 - 1e-12)).to(rows.device)
    log_q = -0.5 * noise.square().sum(1) - dims * (0.5 * math.log(2 * math.pi) + math.log(std))
    z = std * noise
    blocks = z.split(max(1, source.entries // (4 * len(rows))))
    f = torch.cat([source(rows, block).double() for block in blocks], 1)
    return z, _comparable(f - log_q)


def _starts(z: Tensor, log_w: Tensor, reach: float) -> _Mixture:
    """Parts at the heaviest points of the scan, each away from those before it, and a wide one."""
    images, dims = len(log_w), z.shape[1]
    left, means, heights = log_w.clone(), [], []
    unit = reach / 6.0
    for _ in range(MODES):
        height, best = left.max(1)
        means.append(z[best])
        heights.append(height)
        left.masked_fill_(torch.cdist(z[best], z) < APART * unit, -math.inf)
    height = torch.stack(heights, 1)
    kept = height >= height[:, :1] - DROPPED
    weight = (height - height[:, :1]).exp().clamp(min=0.02) * kept
    weight = (1 - WIDE) * weight / weight.sum(1, keepdim=True) + 1e-12
    eye = torch.eye(dims, dtype=z.dtype, device=z.device)
    narrow = (0.2 * unit * eye).expand(images, MODES, dims, dims)
    return _Mixture(
        torch.cat([weight, torch.full_like(weight[:, :1], WIDE)], 1),
        torch.cat([torch.stack(means, 1), torch.zeros_like(means[0])[:, None]], 1),
        torch.cat([narrow, (unit * eye).expand(images, 1, dims, dims)], 1),
    )


def _log_left_out(mixture: _Mixture, z: Tensor, log_w: Tensor) -> Tensor:
    """The log mass that the scan saw far from all parts but the wide one: [b]."""
    near = torch.stack(
        [
            _Mixture(w[None], m[None], s[None]).noise_of(z[:, None])[:, 0, :-1].norm(dim=-1).amin(1)
            < FAR
            for w, m, s in zip(mixture.weight, mixture.mean, mixture.scale, strict=True)
        ]
    )
    return log_w.masked_fill(near, -math.inf).logsumexp(1) - math.log(len(z))


def _shifted(points: Tensor, draws: torch.Generator) -> Tensor:
    """Points of the unit cube [S, N], all moved by the same random vector and wrapped around."""
    shift = torch.rand(points.shape[1], generator=draws, dtype=points.dtype)
    return (points + shift).remainder(1.0).clamp(1e-12, 1 - 1e-12)


def _comparable(log_w: Tensor) -> Tensor:
    """Log weights to choose by: what is not a number, or is −∞, is the worst of all."""
    return log_w.nan_to_num(nan=-1e30, neginf=-1e30, posinf=-1e30)


def _flattened(log_w: Tensor) -> Tensor:
    """log w [S, b] to the largest power up to 1 that leaves ENOUGH effective points."""
    low, high = torch.zeros_like(log_w[0]), torch.ones_like(log_w[0])
    for _ in range(20):
        power = (low + high) / 2
        enough = 1 / (power * log_w).softmax(0).square().sum(0) >= ENOUGH
        low, high = torch.where(enough, power, low), torch.where(enough, high, power)
    return torch.where(high == 1, high, low) * log_w


@cache
def _student() -> Any:
    """Student's t with FREEDOM degrees."""
    from scipy.stats import t  # half a second to import, and a plane needs none of it

    return t(FREEDOM)


class _ShiftedSums:
    """Running sums of w, w z, w z zᵀ and w f for each copy of the points, as exp(· − unit)."""

    def __init__(self, images: int, dims: int, device: torch.device):
        zeros = torch.zeros(images, SHIFTS, dtype=torch.float64, device=device)
        self.unit = zeros[:, 0] - math.inf
        self.sums = torch.stack([zeros] * (2 + dims + dims * dims), 2)

    def add(self, images: Tensor, shift: int, z: Tensor, f: Tensor, log_w: Tensor) -> None:
        """Take in z [S, b, Z] of some images with their log densities and log weights [S, b]."""
        unit = torch.maximum(self.unit[images], log_w.amax(0))
        self.sums[images] *= torch.exp(self.unit[images] - unit).nan_to_num()[:, None, None]
        self.unit[images] = unit
        outer = (z[..., :, None] * z[..., None, :]).flatten(-2)
        features = torch.cat([torch.ones_like(f)[..., None], f[..., None], z, outer], -1)
        self.sums[images, shift] += torch.einsum("sb,sbi->bi", torch.exp(log_w - unit), features)

    def moments(self, points: int) -> dict[str, Tensor]:
        """What ``Integral`` holds, from ``points`` of each copy."""
        each = self.sums[..., 0]
        total = self.sums.mean(1)
        mass = torch.where(total[:, 0] > 0, total[:, 0], math.nan)
        dims = math.isqrt(self.sums.shape[2] - 2)
        mean = total[:, 2 : 2 + dims] / mass[:, None]
        second = (total[:, 2 + dims :] / mass[:, None]).view(-1, dims, dims)
        log_integral = mass.log() + self.unit - math.log(points)
        return {
            "log_p_x": log_integral,
            "error": ERRORS * each.std(1) / (mass * math.sqrt(SHIFTS)),
            "mean": mean,
            "covariance": second - mean[:, :, None] * mean[:, None, :],
            "entropy": log_integral - total[:, 1] / mass,
        }
