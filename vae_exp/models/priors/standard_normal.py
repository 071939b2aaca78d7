"""The prior of the assignment."""

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
