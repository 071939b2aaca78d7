"""The exact evidence of a VAE with one or two latent dimensions."""

from torch import Tensor

from vae_exp.lattice import Evidence, Progress, Table, integrate
from vae_exp.model import VAE


def vae_table(model: VAE, x: Tensor, pixels: Tensor | None = None) -> Table:
    """log p(x, z) of images x [B, D], or of the ``pixels`` [d] that x [B, d] shows."""
    return Table(
        lambda rows, z: model.joint_log_density_table(x[rows], z, pixels),
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
    probability of the rest given this part is a difference of two. Raises UserError where
    latent_dim > 2.
    """
    return integrate(vae_table(model, x, pixels), tolerance=tolerance, progress=progress)
