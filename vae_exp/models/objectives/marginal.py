"""log p(x) itself, on a lattice of few latent dimensions: no encoder."""

import math

import torch
from torch import Tensor

from vae_exp import memory
from vae_exp.errors import UserError, check_positive
from vae_exp.models.objectives.contracts import Step
from vae_exp.models.vae import VAE, Terms
from vae_exp.ranges import Positive

MOST_DIMS = 3  # beyond which a lattice has too many nodes


class Marginal:
    """log (1/G) Σ_g p(x | z_g) over a lattice that is shifted at random at each step.

    z_g = T(Φ⁻¹((g + u) / n)) for g in {0, .., n − 1}^Z, G = n^Z, with n = ``nodes`` an axis. T is
    the map by which the prior makes a z from Z Gaussian numbers, and u the shift, uniform in
    [0, 1)^Z: Φ of the first image's noise. The sum is p(x) on average over u, so the bound is at
    most log p(x) on average (Jensen). All images of a batch share the lattice, which is decoded
    once. The encoder gets no gradient. Terms are those of its ELBO, as with any objective.

    Martinez & Williams 2026, arXiv:2601.18676, train so with a uniform prior.
    """

    samples = 1
    trains_encoder = False

    def __init__(self, nodes: Positive = 20):
        check_positive("objective.nodes", nodes)
        self.nodes = nodes
        self.name = f"marginal_{nodes}"
        self.estimator = f"log p(x) on a lattice, {nodes} nodes an axis, shifted at random"

    def begin(self, model: VAE, steps_per_epoch: int) -> None:
        """Raise UserError if a model has no such lattice, or one that takes too much memory."""
        if model.latent_dim > MOST_DIMS:
            raise UserError(
                f"{self.name} needs latent_dim <= {MOST_DIMS}, got {model.latent_dim}: a lattice "
                "would have too many nodes; take objective=iwae"
            )
        noise = model.prior.noise
        if (noise.kind, noise.size) != ("gaussian", model.latent_dim):
            raise UserError(
                f"{self.name} needs a prior that makes z from {model.latent_dim} Gaussian numbers, "
                f"and {type(model.prior_family).__name__} takes {noise.size} {noise.kind} ones: "
                "take prior=standard_normal, or another objective"
            )
        rows = self.nodes**model.latent_dim * memory.of_a_row(model.decoder)
        sizes = {"objective.nodes": self.nodes, "latent_dim": model.latent_dim}
        memory.require(rows, sizes, model.device)

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [1, B, N] -> terms [B]."""
        x = model.checked(x, noise)
        z = model.prior.sample(self.quantiles(noise[0, 0, : model.latent_dim]))
        log_p_x_given_z = model.likelihood_family.table(model.decoder(z), x)  # [B, G]
        log_p_x = torch.logsumexp(log_p_x_given_z, 1) - math.log(len(z))
        with torch.no_grad():
            own = model.elbo_terms(x, noise)
        return Terms(log_p_x, own.log_likelihood, own.kl)

    def quantiles(self, shift: Tensor) -> Tensor:
        """The lattice of Gaussian quantiles for a shift Φ⁻¹(u) [Z]: [G, Z]."""
        steps = torch.arange(self.nodes, device=shift.device, dtype=shift.dtype)
        mass = (steps[:, None] + torch.special.ndtr(shift)) / self.nodes  # [n, Z]
        tiny = torch.finfo(shift.dtype).eps  # the quantile of 0 or 1 is not finite
        axes = torch.special.ndtri(mass.clamp(tiny, 1 - tiny))
        return torch.cartesian_prod(*axes.unbind(1)).reshape(-1, len(shift))
