"""A flow for an image."""

from torch import Tensor

from vae_exp.models.contracts import PosteriorFamily
from vae_exp.models.couplings import require_couplings
from vae_exp.probability.flows import RealNVP
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.ranges import Positive

GENTLE = 0.3  # times an encoder's outputs, so that an untrained one hardly bends


class RealNVPFamily(PosteriorFamily):
    """q(z | x) is a diagonal Gaussian bent by affine couplings whose weights the encoder says too.

    So the flow can be fitted to one image. With zero weights q is the diagonal Gaussian. Raises
    UserError if latent_dim is 1: no coordinate could move another one.
    """

    def __init__(self, latent_dim: Positive = 2, couplings: Positive = 4, hidden: Positive = 8):
        super().__init__()
        self.weights = require_couplings("posterior", latent_dim, couplings, hidden)
        self.latent_dim = latent_dim
        self.couplings = couplings
        self.hidden = hidden
        self.outputs = 2 * latent_dim + self.weights

    def forward(self, parameters: Tensor) -> RealNVP:
        """[.., outputs] -> mean [.., Z], log_std [.., Z] and weights [.., n]."""
        dims = self.latent_dim
        mean, log_std, outputs = parameters.split([dims, dims, self.weights], -1)
        base = DiagonalGaussian(mean, log_std)
        return RealNVP(base, GENTLE * outputs, self.couplings, self.hidden)
