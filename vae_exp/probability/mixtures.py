"""Mixtures: of a few densities with weights of their own, and of Gaussians with equal weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.probability.densities import (
    factorized_gaussian_log_density,
    sample_diag_gaussian,
)
from vae_exp.probability.distributions import Distribution, Noise, Posterior
from vae_exp.probability.gaussians import DiagonalGaussian, gaussian_log_tail

ROWS = 1 << 18  # z times components at a time
BELOW_ONE = 1 - 2.0**-53


@dataclass(frozen=True)
class Mixture(Distribution):
    """p(z) = Σ_k w_k q_k(z); ``components`` holds the q_k over one axis [K], log_weights is [K].

    The weights must sum to one. A sample does not depend on the weights smoothly.
    """

    components: Posterior
    log_weights: Tensor

    @property
    def noise(self) -> Noise:
        """What a component's sample is made from, and a number that chooses the component."""
        return Noise("gaussian", self.components.noise.size + 1)

    @property
    def mean(self) -> Tensor:
        """Σ_k w_k E_k z: [Z]."""
        return self.log_weights.exp() @ self.components.mean

    def log_prob(self, value: Tensor) -> Tensor:
        """log Σ_k w_k q_k(z): [.., Z] -> [..]."""
        count = len(self.log_weights)
        z = value.reshape(-1, 1, value.shape[-1]).expand(-1, count, -1)
        log_p = [
            (self.log_weights + self.components.log_prob(part)).logsumexp(-1)
            for part in z.split(max(1, ROWS // count))
        ]
        return torch.cat(log_p).view(value.shape[:-1])

    def sample(self, noise: Tensor) -> Tensor:
        """A sample of the component that the last number ε chooses: Σ_{j < k} w_j ≤ Φ(ε)."""
        chosen = torch.special.ndtr(noise[..., -1].double()).clamp(max=BELOW_ONE)
        edges = self.log_weights.detach().double().exp().cumsum(0)
        k = torch.searchsorted(edges, chosen, right=True).clamp(max=len(edges) - 1)
        return self.components.at(k).sample(noise[None, ..., :-1])[0]

    def log_tail(self, half_side: float) -> Tensor | None:
        """The weighted sum of the components' bounds: []."""
        tails = self.components.log_tail(half_side)
        return None if tails is None else (self.log_weights.double() + tails).logsumexp(-1)


@dataclass(frozen=True)
class GaussianMixture(Posterior):
    """q(z) = (1/K) Σ_k N(z; location_k, diag σ_k²); location and log_std [.., K, Z].

    The weights are equal and fixed. So the noise alone chooses a component, and the gradient of a
    sample with respect to location and σ is an unbiased estimate of that of the expectation.
    """

    location: Tensor
    log_std: Tensor

    @property
    def noise(self) -> Noise:
        """A number for each dimension, and one that chooses the component."""
        return Noise("gaussian", self.location.shape[-1] + 1)

    @property
    def like(self) -> Tensor:
        """The first component's location: [.., Z]."""
        return self.location[..., 0, :]

    @property
    def mean(self) -> Tensor:
        """(1/K) Σ_k location_k."""
        return self.location.mean(-2)

    def scale(self) -> Tensor:
        """From the covariance (1/K) Σ_k diag σ_k² + location_k location_kᵀ − mean meanᵀ."""
        centred = self.location - self.mean[..., None, :]
        between = torch.einsum("...ki,...kj->...ij", centred, centred) / centred.shape[-2]
        within = torch.diag_embed(torch.exp(2 * self.log_std).mean(-2))
        scale: Tensor = torch.linalg.cholesky(between + within)
        return scale

    def sample(self, noise: Tensor) -> Tensor:
        """z = location_k + σ_k ε with k = ⌊K Φ(ε')⌋, ε' the last number."""
        count, dims = self.location.shape[-2:]
        k = (count * torch.special.ndtr(noise[..., -1:])).long().clamp(max=count - 1)
        index = k[..., None].expand(*k.shape, dims)
        shape = (*noise.shape[:-1], count, dims)
        mean, log_std = (
            part.expand(shape).gather(-2, index).squeeze(-2)
            for part in (self.location, self.log_std)
        )
        return sample_diag_gaussian(mean, log_std, noise=noise[..., :-1])

    def log_prob(self, value: Tensor) -> Tensor:
        """log (1/K) Σ_k N(z; location_k, diag σ_k²)."""
        each = factorized_gaussian_log_density(self.location, self.log_std, value[..., None, :])
        return each.logsumexp(-1) - math.log(each.shape[-1])

    def log_tail(self, half_side: float) -> Tensor:
        """The mean of the components' bounds: [..]."""
        each = gaussian_log_tail(self.location, self.log_std, half_side)
        return each.logsumexp(-1) - math.log(each.shape[-1])

    def parts(self) -> Sequence[DiagonalGaussian]:
        """Its Gaussians."""
        pairs = zip(self.location.unbind(-2), self.log_std.unbind(-2), strict=True)
        return [DiagonalGaussian(*pair) for pair in pairs]

    def near(self, gaussian: Posterior) -> "GaussianMixture":
        """As many Gaussians along the widest axis of one, which together are about as wide."""
        count = self.location.shape[-2]
        quantiles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        place = 0.5 * torch.special.ndtri(quantiles).to(gaussian.like)  # [K]
        std = gaussian.scale().square().sum(-1).sqrt()  # [.., Z]
        widest = torch.nn.functional.one_hot(std.argmax(-1), std.shape[-1]) * std
        location = gaussian.mean[..., None, :] + place[:, None] * widest[..., None, :]
        narrow = std - (1 - math.sqrt(0.75)) * widest
        return GaussianMixture(location, narrow.log()[..., None, :].expand_as(location))

    def variational_parameters(self) -> list[Tensor]:
        """location, log_std."""
        return [self.location, self.log_std]

    def with_parameters(self, parameters: list[Tensor]) -> "GaussianMixture":
        """A mixture at (location, log_std)."""
        return GaussianMixture(*parameters)
