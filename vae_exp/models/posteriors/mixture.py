"""Several Gaussians for an image."""

from torch import Tensor

from vae_exp.errors import check_positive
from vae_exp.models.contracts import PosteriorFamily
from vae_exp.probability.distributions import Noise
from vae_exp.probability.mixtures import GaussianMixture
from vae_exp.ranges import Positive


class MixtureFamily(PosteriorFamily):
    """q(z | x) = (1/K) Σ_k N(mean_k, diag σ_k²); the encoder says each mean and log_std.

    The weights are equal: so gradients through samples are unbiased. Two Gaussians at one place
    are one with twice the weight.
    """

    def __init__(self, latent_dim: Positive = 2, components: Positive = 4):
        super().__init__()
        check_positive("posterior.latent_dim", latent_dim)
        check_positive("posterior.components", components)
        self.latent_dim = latent_dim
        self.components = components
        self.outputs = 2 * latent_dim * components

    @property
    def noise(self) -> Noise:
        """A number for each dimension, and one that chooses the Gaussian."""
        return Noise("gaussian", self.latent_dim + 1)

    def forward(self, parameters: Tensor) -> GaussianMixture:
        """[.., 2 K Z] -> location and log_std, [.., K, Z] each."""
        shape = (2, self.components, self.latent_dim)
        location, log_std = parameters.unflatten(-1, shape).unbind(-3)
        return GaussianMixture(location, log_std)
