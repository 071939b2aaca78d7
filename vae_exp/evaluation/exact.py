"""The exact evidence of a model with one or two latent dimensions."""

from torch import Tensor

from vae_exp.inference.lattice import ENTRIES, Integral, integrate
from vae_exp.inference.progress import Progress
from vae_exp.inference.tiles import Table
from vae_exp.models.vae import VAE

MOST_DIMS = 2


def is_exact(model: VAE) -> bool:
    """Whether log p(x) is an integral that can be done: with one or two latent dimensions."""
    return model.latent_dim <= MOST_DIMS


def vae_table(model: VAE, x: Tensor, pixels: Tensor | None = None) -> Table:
    """log p(x, z) of images x [B, D], or of the ``pixels`` [d] that x [B, d] shows."""
    discrete = model.likelihood_family.discrete
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
    )


def evidence(
    model: VAE,
    x: Tensor,
    pixels: Tensor | None = None,
    *,
    tolerance: float = 1e-3,
    entries: int = ENTRIES,
    progress: Progress | None = None,
) -> Integral:
    """log p(x) = log ∫ p(z) p(x | z) dz of every image x [B, D], in nats, and its error.

    With ``pixels`` [d] and x [B, d] it is the evidence of a part of each image, so that the log
    probability of the rest given this part is a difference of two. ``progress`` is told the
    fraction that is done. Raises UserError if latent_dim > 2.
    """
    return integrate(
        vae_table(model, x, pixels), tolerance=tolerance, entries=entries, progress=progress
    )
