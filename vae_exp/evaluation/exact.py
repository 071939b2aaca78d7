"""The exact evidence of a model with one, two or three latent dimensions."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.inference import lattice, quasi
from vae_exp.inference.lattice import ENTRIES, Integral
from vae_exp.inference.progress import Progress
from vae_exp.inference.scan import SCAN
from vae_exp.inference.tiles import Table
from vae_exp.models.vae import VAE
from vae_exp.probability.mixtures import Mixture
from vae_exp.probability.streams import generator

MOST_DIMS = 3
DRAWS = 256  # of z from a component that a lattice may miss
NEGLIGIBLE = 1e-6  # share of a component that a lattice misses
EVERY = 4  # pixels: one is asked for where the decoder changes
TOLERANCE, ESTIMATED = 1e-3, 1e-2  # nats: by a lattice, and if the error is estimated


def is_exact(model: VAE) -> bool:
    """Whether log p(x) is an integral that can be done: with up to three latent dimensions."""
    return model.latent_dim <= MOST_DIMS


def has_grid(model: VAE) -> bool:
    """Whether the posterior can be had on a grid: with one or two latent dimensions."""
    return model.latent_dim in SCAN


def vae_table(model: VAE, x: Tensor, pixels: Tensor | None = None) -> Table:
    """log p(x, z) of images x [B, D], or of the ``pixels`` [d] that x [B, d] shows."""
    discrete = model.likelihood_family.discrete
    shown = torch.arange(model.pixels, device=x.device) if pixels is None else pixels
    some = shown[::EVERY]  # a part of space in which many pixels change shows in these
    return Table(
        # Distinct rows in order are all rows if there are as many: no copy of the data then.
        lambda rows, z: model.joint_log_density_table(
            x if len(rows) == len(x) else x[rows], z, pixels
        ),
        len(x),
        model.latent_dim,
        x.dtype,
        x.device,
        model.prior_family.reach(),
        model.prior_family.log_tail if discrete else None,
        (lambda z: model.joint_ceiling(z, pixels)) if discrete else None,
        model.log_prior if discrete else None,  # as no probability of an image is above 1
        lambda z: model.decoder(z, some),
    )


@torch.no_grad()
def _missed(model: VAE, x: Tensor, pixels: Tensor | None, found: Integral) -> Tensor:
    """How much higher log p(x) may be by a prior's components between a lattice's points: [B].

    A lattice of step h is off by a share 2 exp(−2π²σ²/h²) an axis of a component of width σ, or
    by all of it. A component's mass is no more than w times the highest p(x | z) in it, which is
    taken among a few draws of z.
    """
    prior, missed = model.prior, torch.full_like(found.log_p_x, -math.inf)
    if not isinstance(prior, Mixture):
        return missed.exp()
    parts, draws = prior.components.parts(), generator(0, "narrow")
    for part in parts:
        width = torch.linalg.svdvals(part.scale()).amin(-1).double()
        waves = (width / found.step[:, None]).square()
        share = (2 * model.latent_dim * torch.exp(-2 * math.pi**2 * waves)).clamp(max=1)  # [B, K]
        for k in (share > NEGLIGIBLE).any(0).nonzero().flatten().tolist():
            noise = part.noise.draw(DRAWS, 1, generator=draws, device=x.device, dtype=x.dtype)
            z = part.at(slice(k, k + 1)).sample(noise)[:, 0]
            likelihoods = model.joint_log_density_table(x, z, pixels) - model.log_prior(z)
            log_mass = likelihoods.amax(1) + prior.log_weights[k] - math.log(len(parts))
            missed = torch.logaddexp(missed, log_mass + share[:, k].log())
    return torch.log1p(torch.exp(missed - found.log_p_x))


def evidence(
    model: VAE,
    x: Tensor,
    pixels: Tensor | None = None,
    *,
    tolerance: float | None = None,
    entries: int = ENTRIES,
    progress: Progress | None = None,
) -> Integral:
    """log p(x) = log ∫ p(z) p(x | z) dz of every image x [B, D], in nats, and its error.

    With ``pixels`` [d] and x [B, d] it is the evidence of a part of each image, so that the log
    probability of the rest given this part is a difference of two. On a line or a plane it is a sum
    over a lattice, to TOLERANCE if no other is given, whose error holds what it can have missed of
    a mixture's narrow components; in space by Sobol points, to ESTIMATED, and
    ``estimated`` says so. ``progress`` is told the fraction that is done. Raises UserError if
    latent_dim > 3.
    """
    table = vae_table(model, x, pixels)
    if has_grid(model):
        found = lattice.integrate(
            table, tolerance=tolerance or TOLERANCE, entries=entries, progress=progress
        )
        error = found.error + _missed(model, x, pixels, found)
        return replace(found, error=error, converged=error <= found.tolerance)
    if not is_exact(model):
        raise UserError(
            f"the exact evidence needs latent_dim 1 to {MOST_DIMS}, got {model.latent_dim}: "
            "use an importance-weighted estimate"
        )
    return quasi.integrate(
        table,
        lambda rows: model.log_joint_of_each(x[rows], pixels),
        tolerance=tolerance or ESTIMATED,
        entries=entries,
        progress=progress,
    )
