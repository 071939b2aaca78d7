"""Gaussian distributions over z: the standard one, and two families that can be fitted."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vae_exp.probability.densities import (
    LOG_2PI,
    factorized_gaussian_log_density,
    sample_diag_gaussian,
    standard_gaussian_log_density,
)
from vae_exp.probability.distributions import Distribution, Noise, Posterior


@dataclass(frozen=True)
class StandardGaussian(Distribution):
    """N(0, I) in ``dims`` dimensions."""

    dims: int
    symbol: ClassVar[str] = "N(0, I)"

    @property
    def noise(self) -> Noise:
        """The sample itself."""
        return Noise("gaussian", self.dims)

    @property
    def mean(self) -> Tensor:
        """The origin: [Z]."""
        return torch.zeros(self.dims)

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(z; 0, I)."""
        return standard_gaussian_log_density(value)

    def sample(self, noise: Tensor) -> Tensor:
        """z = ε."""
        return noise

    def log_tail(self, half_side: float) -> Tensor:
        """log of Z · P(|z_i| > half_side), which is no less than the mass outside the box."""
        zeros = torch.zeros(self.dims, dtype=torch.float64)
        return gaussian_log_tail(zeros, zeros, half_side)


@dataclass(frozen=True)
class DiagonalGaussian(Posterior):
    """q(z) = N(mean, diag exp(2 log_std)); mean and log_std [B, Z]."""

    mean: Tensor
    log_std: Tensor

    @property
    def noise(self) -> Noise:
        """A standard Gaussian number for each dimension."""
        return Noise("gaussian", self.mean.shape[-1])

    def sample(self, noise: Tensor) -> Tensor:
        """z = mean + σ ε."""
        return sample_diag_gaussian(self.mean, self.log_std, noise=noise)

    def noise_of(self, value: Tensor) -> Tensor:
        """The ε of which z is made: (z − mean) / σ."""
        return (value - self.mean) * torch.exp(-self.log_std)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z), summed over dimensions."""
        return factorized_gaussian_log_density(self.mean, self.log_std, value)

    def log_tail(self, half_side: float) -> Tensor:
        """log Σ_i P(|z_i| > half_side): [..]."""
        return gaussian_log_tail(self.mean, self.log_std, half_side)

    def entropy(self) -> Tensor:
        """½ Z (1 + log 2π) + Σ_i log σ_i."""
        return gaussian_entropy(self.log_std)

    def scale(self) -> Tensor:
        """diag σ."""
        return torch.diag_embed(torch.exp(self.log_std))

    def variational_parameters(self) -> list[Tensor]:
        """mean, log_std."""
        return [self.mean, self.log_std]

    def with_parameters(self, parameters: list[Tensor]) -> "DiagonalGaussian":
        """A diagonal Gaussian at (mean, log_std)."""
        mean, log_std = parameters
        return DiagonalGaussian(mean, log_std)


@dataclass(frozen=True)
class FullGaussian(Posterior):
    """q(z) = N(mean, L Lᵀ) with L = diag(exp(log_std)) (I + tril(lower, −1)).

    log |L| = Σ log_std, so the diagonal family is the case lower = 0. lower is [B, Z, Z], of
    which only the part below the diagonal is read.
    """

    mean: Tensor
    log_std: Tensor
    lower: Tensor

    @classmethod
    def from_diagonal(cls, q: DiagonalGaussian) -> "FullGaussian":
        """The same density, in the family that can also tilt."""
        dims = q.mean.shape[-1]
        return cls(q.mean, q.log_std, q.mean.new_zeros(*q.mean.shape, dims))

    @classmethod
    def from_moments(cls, mean: Tensor, covariance: Tensor) -> "FullGaussian":
        """The Gaussian with a given mean [B, Z] and covariance [B, Z, Z]."""
        scale = torch.linalg.cholesky(covariance)
        std = scale.diagonal(dim1=-2, dim2=-1)
        return cls(mean, std.log(), scale / std[..., None])

    @property
    def noise(self) -> Noise:
        """A standard Gaussian number for each dimension."""
        return Noise("gaussian", self.mean.shape[-1])

    def sample(self, noise: Tensor) -> Tensor:
        """z = mean + L ε."""
        return self.mean + torch.einsum("...ij,s...j->s...i", self.scale(), noise.to(self.mean))

    def noise_of(self, value: Tensor) -> Tensor:
        """The ε of which z is made: L⁻¹ (z − mean), [S, .., Z]."""
        centred = (value - self.mean).movedim(0, -1)  # [B, Z, S]
        noise: Tensor = torch.linalg.solve_triangular(self.scale(), centred, upper=False)
        return noise.movedim(-1, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(L⁻¹ (z − mean); 0, I) − Σ log_std."""
        return standard_gaussian_log_density(self.noise_of(value)) - self.log_std.sum(-1)

    def log_tail(self, half_side: float) -> Tensor:
        """log Σ_i P(|z_i| > half_side): [..]."""
        log_std = 0.5 * self.scale().double().square().sum(-1).log()
        return gaussian_log_tail(self.mean, log_std, half_side)

    def entropy(self) -> Tensor:
        """½ Z (1 + log 2π) + Σ_i log L_ii."""
        return gaussian_entropy(self.log_std)

    def scale(self) -> Tensor:
        """L."""
        unit = torch.eye(self.mean.shape[-1], dtype=self.mean.dtype, device=self.mean.device)
        return torch.exp(self.log_std)[..., None] * (unit + torch.tril(self.lower, -1))

    def variational_parameters(self) -> list[Tensor]:
        """mean, log_std, lower."""
        return [self.mean, self.log_std, self.lower]

    def with_parameters(self, parameters: list[Tensor]) -> "FullGaussian":
        """A full-covariance Gaussian at (mean, log_std, lower)."""
        mean, log_std, lower = parameters
        return FullGaussian(mean, log_std, lower)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy of a Gaussian whose Cholesky factor has diagonal exp(log_std): [.., Z] -> [..]."""
    return log_std.sum(-1) + 0.5 * log_std.shape[-1] * (1 + LOG_2PI)


def gaussian_log_tail(mean: Tensor, log_std: Tensor, half_side: float) -> Tensor:
    """log Σ_i P(|z_i| > half_side), z_i ~ N(mean_i, σ_i²): [.., Z] -> [..] in nats, float64.

    It is no less than the log mass outside the box, whatever the correlations.
    """
    mean, std = mean.double(), log_std.double().exp()
    sides = torch.cat([(mean - half_side) / std, (-mean - half_side) / std], -1)
    log_tail: Tensor = torch.special.log_ndtr(sides).logsumexp(-1)
    return log_tail
