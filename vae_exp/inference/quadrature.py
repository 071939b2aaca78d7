"""What needs no samples in one or two dimensions: the ELBO of a q, and a posterior on a grid."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.inference import svi
from vae_exp.inference.lattice import Integral
from vae_exp.inference.svi import LogJoint
from vae_exp.inference.tiles import Table
from vae_exp.probability.distributions import Posterior

MOST_DIMS = 2  # beyond which a product of rules has too many nodes
EVALUATIONS = 16_384  # of a log joint at a time
MOST_NODES = 150  # an axis
AT_ONCE = 128  # samples, if there is no rule
BLOCKS = 8  # of samples at least: how they differ is the error
FIRST_WINDOW = 6.0  # standard deviations of the posterior on either side of its mean
FRAME = 0.05  # of a window's width: the strip along its border that must be empty


def has_rule(q: Posterior) -> bool:
    """Whether ``hermite_elbo`` serves: samples of q, or of each of its parts, take two numbers."""
    noises = [part.noise for part in q.parts()]
    return all(noise.kind == "gaussian" and noise.size <= MOST_DIMS for noise in noises)


class Elbo(NamedTuple):
    """The ELBO of every q and how far the value may be off, in nats, float64: [..] each."""

    value: Tensor
    error: Tensor


def elbo_of(log_joint: LogJoint, q: Posterior, **settings: Any) -> Tensor:
    """The value of ``elbo_with_error``: [..] in nats, float64."""
    return elbo_with_error(log_joint, q, **settings).value


@torch.no_grad()
def elbo_with_error(
    log_joint: LogJoint,
    q: Posterior,
    *,
    nodes: int = 8,
    tolerance: float = 1e-3,
    of_images: Callable[[Tensor], LogJoint] | None = None,
    samples: int = 1024,
    generator: torch.Generator | None = None,
) -> Elbo:
    """ELBO of a q that stays as it is: by ``hermite_elbo`` if there is a rule, else by sampling.

    A rule of ``nodes`` points an axis is doubled for the images whose value still moves by more
    than ``tolerance``. The error is the larger of the last move and an eighth of the move before,
    as two rules may agree by chance. An infinite tolerance takes the first rule alone, and its
    error is infinite. If sampled, the error is one standard error. ``log_joint`` maps
    z [S, .., B, Z] to [S, .., B]; ``of_images(rows)`` is that of some images, so that the others
    need not be computed again.
    """
    if not has_rule(q):
        return _sampled_elbo(log_joint, q, samples, generator)
    value = hermite_elbo(log_joint, q, nodes=nodes)
    error = torch.full_like(value, math.inf)
    moved = torch.zeros_like(value)  # by the last doubling
    while 2 * nodes < MOST_NODES and (pending := error > tolerance).any():
        nodes = 2 * nodes + 1  # odd if it was even: no point but the centre is in both
        if of_images is None:
            finer = hermite_elbo(log_joint, q, nodes=nodes)
        else:
            rows = pending.view(-1, pending.shape[-1]).any(0).nonzero().flatten()
            some: tuple[slice | Tensor, ...] = (*[slice(None)] * (pending.dim() - 1), rows)
            finer = value.clone()
            finer[some] = hermite_elbo(of_images(rows), q.at(some), nodes=nodes)
        last, moved = moved, torch.where(pending, (finer - value).abs(), moved)
        error = torch.where(pending, torch.maximum(moved, last / 8), error)
        value = torch.where(pending, finer, value)
    return Elbo(value, error)


def _sampled_elbo(
    log_joint: LogJoint, q: Posterior, samples: int, generator: torch.Generator | None
) -> Elbo:
    """The mean over blocks of samples, and its standard error from how the blocks differ."""
    size = max(2, min(AT_ONCE, samples // BLOCKS))
    counts = torch.tensor([min(size, samples - done) for done in range(0, samples, size)])
    means = torch.stack(
        [
            svi.elbo_of(log_joint, q, samples=count, generator=generator).double()
            for count in counts.tolist()
        ]
    )
    share = (counts.double() / samples).to(means.device).view(-1, *[1] * (means.dim() - 1))
    mean = (share * means).sum(0)
    if len(counts) == 1:
        return Elbo(mean, torch.full_like(mean, math.inf))
    variance = (share * (means - mean).square()).sum(0) / (len(counts) - 1)
    return Elbo(mean, variance.sqrt())


@torch.no_grad()
def hermite_elbo(log_joint: LogJoint, q: Posterior, *, nodes: int = 12) -> Tensor:
    """ELBO of a q without Monte Carlo: E_q [log p(x, z) − log q(z)], [..] in nats, float64.

    The expectation is a product of Gauss–Hermite rules with ``nodes`` points an axis in the noise
    ε of q; for a mixture, of each of its parts. For a Gaussian q it is exact if log p(x, z) is a
    polynomial of degree below 2 ``nodes`` in each coordinate. A q as narrow as the posterior, like
    an encoder's or a fitted one, is right to 1e-4 nats by 8 nodes; one that straddles several modes
    needs many more, so compare two numbers of nodes. Raises UserError if a sample of q takes more
    than two Gaussian numbers.
    """
    if not has_rule(q):
        raise UserError(
            f"Gauss–Hermite products need a q made from 1 or 2 Gaussian numbers, got "
            f"{q.noise.size} {q.noise.kind} ones: use svi.elbo_of"
        )
    entropy, parts = q.entropy(), q.parts()

    def energy(z: Tensor) -> Tensor:
        log_joint_density = log_joint(z).double()
        return log_joint_density if entropy is not None else log_joint_density - q.log_prob(z)

    found = torch.stack([_expectation(energy, part, nodes) for part in parts]).mean(0)
    return found if entropy is None else found + entropy.double()


def _expectation(energy: LogJoint, q: Posterior, nodes: int) -> Tensor:
    """E_q of a function z [S, .., Z] -> [S, ..] by a product of rules: [..] in float64."""
    dims, like = q.noise.size, q.like
    points, weights = (torch.from_numpy(part).to(like) for part in hermegauss(nodes))
    noise = torch.cartesian_prod(*[points] * dims).reshape(-1, dims)
    weight = torch.cartesian_prod(*[weights] * dims).reshape(-1, dims).prod(1)
    weight = weight / math.sqrt(2 * math.pi) ** dims
    lead = like.shape[:-1]
    size = max(1, EVALUATIONS // max(1, math.prod(lead)))
    total = torch.zeros(lead, dtype=torch.float64, device=like.device)
    for ε, w in zip(noise.split(size), weight.split(size), strict=True):
        z = q.sample(ε.view(-1, *[1] * len(lead), dims).expand(-1, *lead, -1))
        total += torch.tensordot(w.double(), energy(z), 1)
    return total


@dataclass(frozen=True)
class PosteriorGrid:
    """The exact log p(z | x) of one image on a window that holds its mass.

    ``axes`` are the coordinates [G_i] along each latent dimension, the centres of equal cells;
    ``log_density`` [G_1] or [G_1, G_2] is normalised; ``inside`` is the mass in the window.
    """

    axes: tuple[Tensor, ...]
    log_density: Tensor
    inside: float

    @property
    def points(self) -> Tensor:
        """The middles of the cells: z [G, Z]."""
        return torch.cartesian_prod(*self.axes).reshape(-1, len(self.axes))

    @property
    def weights(self) -> Tensor:
        """The share of the posterior in each cell: [G], summing to one."""
        return torch.softmax(self.log_density.flatten(), 0)


@torch.no_grad()
def posterior_grid(
    table: Table,
    exact: Integral,
    row: int,
    *,
    points: int = 200,
    outside: float = 1e-4,
    include: Tensor | None = None,
) -> PosteriorGrid:
    """log p(z | x) of image ``row`` over a window with all but ``outside`` of its mass.

    ``exact`` is ``integrate(table)``. The window starts from the posterior's mean and standard
    deviations, and from the z in ``include`` [N, Z] (where a q is to be drawn too); it grows while
    mass lies along its border or is missing. It has at least ``points`` cells an axis, and as many
    as the exact integral needed.
    """
    mean, step = exact.mean[row], exact.step[row].item()
    std = exact.covariance[row].diagonal().sqrt()
    low, high = mean - FIRST_WINDOW * std, mean + FIRST_WINDOW * std
    if include is not None:
        low = torch.minimum(low, include.to(low).amin(0))
        high = torch.maximum(high, include.to(high).amax(0))
    image = torch.tensor([row], device=mean.device)
    while True:
        axes = [
            _cells(a.item(), b.item(), max(points, math.ceil((b - a).item() / step))).to(mean)
            for a, b in zip(low, high, strict=True)
        ]
        z = torch.cartesian_prod(*axes).reshape(-1, len(axes)).to(table.dtype)
        log_joint = torch.cat([table.log_joint(image, part)[0] for part in z.split(EVALUATIONS)])
        log_density = log_joint.double().view(*map(len, axes)) - exact.log_p_x[row]
        cell = math.prod((axis[1] - axis[0]).item() for axis in axes)
        mass = log_density.exp() * cell
        inside = mass.sum().item()
        core = mass[tuple(slice(int(FRAME * n), n - int(FRAME * n)) for n in mass.shape)]
        # log p(x) is known to its error only, so the mass is too.
        short = 1 - inside > outside + exact.error[row].item()
        if not short and inside - core.sum().item() <= outside:
            return PosteriorGrid(tuple(axes), log_density, inside)
        low, high = low - (high - low) / 4, high + (high - low) / 4


def _cells(low: float, high: float, count: int) -> Tensor:
    """The centres of ``count`` equal cells between two ends, in float64."""
    axis = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return low + (high - low) * axis
