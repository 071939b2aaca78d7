"""Parts that are nothing like the assignment's: what holds for them holds for any."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vae_exp.models.contracts import Likelihood, PosteriorFamily, Prior
from vae_exp.probability.densities import (
    factorized_gaussian_log_density,
    sample_diag_gaussian,
)
from vae_exp.probability.distributions import Distribution, Noise, SampledMoments


@dataclass(frozen=True)
class TwoGaussians(Distribution):
    """¼ N(−a, s² I) + ¾ N(a, s² I) with a = (shift, .., shift)."""

    shift: Tensor
    log_std: Tensor
    dims: int

    @property
    def noise(self) -> Noise:
        """A number for each dimension, and one that chooses the component."""
        return Noise("gaussian", self.dims + 1)

    @property
    def mean(self) -> Tensor:
        return (self.shift / 2).expand(self.dims)

    def log_prob(self, value: Tensor) -> Tensor:
        each = [
            math.log(weight)
            + factorized_gaussian_log_density(sign * self.shift, self.log_std, value)
            for weight, sign in ((0.25, -1.0), (0.75, 1.0))
        ]
        return torch.logaddexp(*each)

    def sample(self, noise: Tensor) -> Tensor:
        low = torch.special.ndtr(noise[..., -1:]) < 0.25
        mean = torch.where(low, -self.shift, self.shift)
        return sample_diag_gaussian(mean, self.log_std, noise=noise[..., :-1])


class TwoGaussiansPrior(Prior):
    """A learnt mixture."""

    def __init__(self, latent_dim: int = 2, shift: float = 0.8):
        super().__init__()
        self.latent_dim = latent_dim
        self.shift = nn.Parameter(torch.tensor([shift]))
        self.log_std = nn.Parameter(torch.tensor([-0.2]))

    def forward(self) -> TwoGaussians:
        return TwoGaussians(self.shift, self.log_std, self.latent_dim)


@dataclass(frozen=True)
class GreyPixels(Distribution):
    """Pixels N(mean_i, σ_i²)."""

    mean: Tensor
    log_std: Tensor

    @property
    def noise(self) -> Noise:
        return Noise("gaussian", self.mean.shape[-1])

    def log_prob(self, value: Tensor) -> Tensor:
        return factorized_gaussian_log_density(self.mean, self.log_std, value)

    def sample(self, noise: Tensor) -> Tensor:
        return sample_diag_gaussian(self.mean, self.log_std, noise=noise)


class GreyLikelihood(Likelihood):
    """Two outputs a pixel: a mean, and a log_std between −1.5 and 0.5."""

    outputs = 2

    def forward(self, parameters: Tensor) -> GreyPixels:
        mean, log_std = parameters.chunk(2, -1)
        return GreyPixels(mean, torch.tanh(log_std) - 0.5)


@dataclass(frozen=True)
class BentGaussian(SampledMoments):
    """z = (u_1, .., u_{Z−1}, u_Z + bend tanh u_1), u a diagonal Gaussian: a flow."""

    location: Tensor
    log_std: Tensor
    bend: Tensor  # [.., 1]

    @property
    def noise(self) -> Noise:
        return Noise("gaussian", self.location.shape[-1])

    def sample(self, noise: Tensor) -> Tensor:
        u = sample_diag_gaussian(self.location, self.log_std, noise=noise)
        return torch.cat([u[..., :-1], u[..., -1:] + self.bend * torch.tanh(u[..., :1])], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        last = value[..., -1:] - self.bend * torch.tanh(value[..., :1])
        u = torch.cat([value[..., :-1], last], -1)
        return factorized_gaussian_log_density(self.location, self.log_std, u)

    def variational_parameters(self) -> list[Tensor]:
        return [self.location, self.log_std, self.bend]

    def with_parameters(self, parameters: list[Tensor]) -> "BentGaussian":
        return BentGaussian(*parameters)


class BentFamily(PosteriorFamily):
    """q(z | x) is a bent Gaussian; latent_dim 2 or more."""

    def __init__(self, latent_dim: int = 2):
        super().__init__()
        self.latent_dim = latent_dim
        self.outputs = 2 * latent_dim + 1

    def forward(self, parameters: Tensor) -> BentGaussian:
        dims = self.latent_dim
        return BentGaussian(*parameters.split([dims, dims, 1], -1))
