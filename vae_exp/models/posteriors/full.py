"""Gaussians with any covariance."""

import torch
from torch import Tensor

from vae_exp.errors import check_positive
from vae_exp.models.contracts import PosteriorFamily
from vae_exp.probability.gaussians import FullGaussian
from vae_exp.ranges import Positive


class FullGaussianFamily(PosteriorFamily):
    """q(z | x) = N(mean, L Lᵀ); the encoder says a mean, a log_std and what is below the diagonal.

    L = diag σ (I + lower), so an encoder of zeros says N(0, I).
    """

    def __init__(self, latent_dim: Positive = 2):
        super().__init__()
        check_positive("posterior.latent_dim", latent_dim)
        self.latent_dim = latent_dim
        self.outputs = 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    def forward(self, parameters: Tensor) -> FullGaussian:
        """[.., outputs] -> mean [.., Z], log_std [.., Z] and lower [.., Z, Z]."""
        dims = self.latent_dim
        mean, log_std, below = parameters.split([dims, dims, self.outputs - 2 * dims], -1)
        row, column = torch.tril_indices(dims, dims, -1, device=below.device)
        place = (row * dims + column).expand_as(below)
        flat = below.new_zeros(*below.shape[:-1], dims * dims).scatter(-1, place, below)
        return FullGaussian(mean, log_std, flat.unflatten(-1, (dims, dims)))
