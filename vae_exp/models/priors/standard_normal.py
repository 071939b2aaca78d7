"""The prior of the assignment."""

import math

import torch

from vae_exp.errors import check_positive
from vae_exp.models.contracts import Prior
from vae_exp.probability.gaussians import StandardGaussian


class StandardNormal(Prior):
    """p(z) = N(z; 0, I)."""

    def __init__(self, latent_dim: int = 2):
        super().__init__()
        check_positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim

    def forward(self) -> StandardGaussian:
        """N(0, I)."""
        return StandardGaussian(self.latent_dim)

    def log_tail(self, half_side: float) -> float:
        """log of Z · P(|z_i| > half_side), which is no less than the mass outside the box."""
        one_side = torch.special.log_ndtr(torch.tensor(-half_side, dtype=torch.float64))
        return math.log(2 * self.latent_dim) + float(one_side)
