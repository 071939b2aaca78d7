"""What is exact with one or two latent dimensions: the evidence, the posterior, the KL to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.lattice import Evidence, Progress, Table, integrate
from vae_exp.model import VAE
from vae_exp.posteriors import Posterior

EVALUATIONS = 16_384  # of a log joint at a time
FIRST_WINDOW = 6.0  # standard deviations of the posterior on either side of its mean
FRAME = 0.05  # of a window's width: the strip along its border that must be empty


def vae_table(model: VAE, x: Tensor, pixels: Tensor | None = None) -> Table:
    """log p(x, z) of images x [B, D], or of the ``pixels`` [d] that x [B, d] shows."""
    return Table(
        # Distinct rows in order are all rows where there are as many: no copy of the data then.
        lambda rows, z: model.joint_log_density_table(
            x if len(rows) == len(x) else x[rows], z, pixels
        ),
        len(x),
        model.latent_dim,
        x.dtype,
        x.device,
    )


def evidence(
    model: VAE,
    x: Tensor,
    pixels: Tensor | None = None,
    *,
    tolerance: float = 1e-3,
    progress: Progress | None = None,
) -> Evidence:
    """log p(x) = log ∫ p(z) p(x | z) dz of every image x [B, D], in nats, and its error.

    With ``pixels`` [d] and x [B, d] it is the evidence of a part of each image, so that the log
    probability of the rest given this part is a difference of two. ``progress`` is told the
    fraction that is done. Raises UserError where latent_dim > 2.
    """
    return integrate(vae_table(model, x, pixels), tolerance=tolerance, progress=progress)


@torch.no_grad()
def gaussian_elbo(
    log_joint: Callable[[Tensor], Tensor], q: Posterior, *, nodes: int = 12
) -> Tensor:
    """ELBO of a Gaussian q without Monte Carlo: E_q log p(x, z) + H(q), [B] in nats.

    The expectation is a product of Gauss–Hermite rules with ``nodes`` points an axis in
    ε = L⁻¹ (z − mean), exact where log p(x, z) is a polynomial of degree below 2 ``nodes`` in
    each. A q as narrow as the posterior, like an encoder's or a fitted one, is right to 1e-4 nats
    by 8 nodes; one that straddles several modes needs many more, so compare two numbers of nodes.
    ``log_joint`` maps z [S, B, Z] to [S, B]. Raises UserError where Z > 2.
    """
    dims = q.mean.shape[-1]
    if dims > 2:
        raise UserError(
            f"Gauss–Hermite products need latent_dim 1 or 2, got {dims}: use svi.elbo_of"
        )
    points, weights = (torch.from_numpy(part).to(q.mean) for part in hermegauss(nodes))
    noise = torch.cartesian_prod(*[points] * dims).reshape(-1, dims)
    weight = torch.cartesian_prod(*[weights] * dims).reshape(-1, dims).prod(1)
    weight = weight / math.sqrt(2 * math.pi) ** dims
    lead = q.mean.shape[:-1]
    size = max(1, EVALUATIONS // max(1, math.prod(lead)))
    energy = torch.zeros(lead, dtype=torch.float64, device=q.mean.device)
    for ε, w in zip(noise.split(size), weight.split(size), strict=True):
        ε = ε.view(-1, *[1] * len(lead), dims).expand(-1, *lead, -1)
        energy += torch.tensordot(w.double(), log_joint(q.sample(ε)).double(), 1)
    return energy + q.entropy().double()


def kl_from(
    q: Posterior, log_joint: Callable[[Tensor], Tensor], log_p_x: Tensor, *, nodes: int = 12
) -> Tensor:
    """KL(q ‖ p(z | x)) = log p(x) − ELBO(q) of a Gaussian q: [B] in nats."""
    return log_p_x - gaussian_elbo(log_joint, q, nodes=nodes)


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
    exact: Evidence,
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
