"""The posterior family of the assignment."""

from torch import Tensor

from vae_exp.errors import check_positive
from vae_exp.models.contracts import PosteriorFamily
from vae_exp.probability.gaussians import DiagonalGaussian


class DiagonalGaussianFamily(PosteriorFamily):
    """q(z | x) = N(mean, diag σ²); the encoder says a mean and a log_std a dimension."""

    def __init__(self, latent_dim: int = 2):
        super().__init__()
        check_positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        self.outputs = 2 * latent_dim

    def forward(self, parameters: Tensor) -> DiagonalGaussian:
        """[.., 2 Z] -> mean [.., Z] and log_std [.., Z]."""
        mean, log_std = parameters.chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_std)
