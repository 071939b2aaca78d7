"""A prior of a few Gaussians whose places, widths and weights are learnt."""

import torch
from torch import nn

from vae_exp import memory
from vae_exp.errors import check_positive
from vae_exp.models.contracts import Prior
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.probability.mixtures import Mixture
from vae_exp.ranges import Positive

LOG_STD = -0.5  # of every Gaussian at first, so that with means of N(0, I) they cover a plane


class MixtureOfGaussians(Prior):
    """p(z) = Σ_k w_k N(z; mean_k, diag σ_k²), w a softmax; means begin as draws from N(0, I)."""

    def __init__(self, latent_dim: Positive = 2, components: Positive = 10):
        super().__init__()
        check_positive("prior.latent_dim", latent_dim)
        check_positive("prior.components", components)
        sizes = {"prior.components": components, "prior.latent_dim": latent_dim}
        memory.require(8.0 * components * latent_dim, sizes)
        self.latent_dim = latent_dim
        self.means = nn.Parameter(torch.empty(components, latent_dim))
        nn.init.normal_(self.means)
        self.log_stds = nn.Parameter(torch.full((components, latent_dim), LOG_STD))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self) -> Mixture:
        """The mixture at the present parameters."""
        components = DiagonalGaussian(self.means, self.log_stds)
        return Mixture(components, torch.log_softmax(self.logits, 0))
