"""Mixtures of multivariate Student-t densities: heavy tails, to sample from about modes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.probability.distributions import Distribution, Noise


@dataclass(frozen=True)
class StudentTMixture(Distribution):
    """q(z) = Σ_k w_k t_ν(z; mean_k, L_k L_kᵀ) over images [B], with K components each.

    location [K, B, Z]; lower [K, B, Z, Z], lower triangular; log_weights [K, B], of which the
    weights of an image sum to one; ``degrees`` is ν, an integer.
    """

    location: Tensor
    lower: Tensor
    log_weights: Tensor
    degrees: int

    @property
    def noise(self) -> Noise:
        """ε, then the ν numbers whose squares make χ²_ν, then the one that chooses a component."""
        return Noise("gaussian", self.location.shape[-1] + self.degrees + 1)

    @property
    def mean(self) -> Tensor:
        """Σ_k w_k mean_k: [B, Z], for ν > 1."""
        return (self.log_weights.exp()[..., None] * self.location).sum(0)

    def sample(self, noise: Tensor) -> Tensor:
        """z = mean_k + L_k ε √(ν / χ²_ν) with Σ_{j < k} w_j ≤ Φ(ε'): [S, B, ..] -> [S, B, Z]."""
        dims = self.location.shape[-1]
        ε, normals, chooser = noise.split([dims, self.degrees, 1], -1)
        edges = self.log_weights.double().exp().cumsum(0)[:-1]
        chosen = torch.special.ndtr(chooser[..., 0].double())
        k = (chosen[:, None] >= edges).sum(1)  # [S, B]
        stretched = ε * (self.degrees / normals.square().sum(-1, keepdim=True)).sqrt()
        z = torch.empty_like(ε)
        for component in range(len(self.location)):
            s, b = (k == component).nonzero(as_tuple=True)
            step = torch.einsum("nij,nj->ni", self.lower[component][b], stretched[s, b])
            z[s, b] = self.location[component][b] + step
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log Σ_k w_k t_ν(z; mean_k, L_k L_kᵀ): [S, B, Z] -> [S, B]."""
        each = [
            log_weight + student_t_log_density(mean, lower, self.degrees, value)
            for mean, lower, log_weight in zip(
                self.location, self.lower, self.log_weights, strict=True
            )
        ]
        return torch.stack(each).logsumexp(0)


def student_t_log_density(mean: Tensor, lower: Tensor, degrees: int, z: Tensor) -> Tensor:
    """Log density of a multivariate Student-t with scale matrix L Lᵀ, one for each image.

    log Γ((ν + Z)/2) − log Γ(ν/2) − (Z/2) log πν − Σ_i log L_ii − ((ν + Z)/2) log(1 + r²/ν),
    r² = |L⁻¹ (z − mean)|². mean [B, Z], lower [B, Z, Z], z [S, B, Z] -> [S, B] in nats.
    """
    dims = mean.shape[-1]
    centred = (z - mean).permute(1, 2, 0)  # [B, Z, S]
    squared = torch.linalg.solve_triangular(lower, centred, upper=False).square().sum(1).T
    constant = (
        math.lgamma((degrees + dims) / 2)
        - math.lgamma(degrees / 2)
        - 0.5 * dims * math.log(math.pi * degrees)
    )
    log_det = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return constant - log_det - 0.5 * (degrees + dims) * torch.log1p(squared / degrees)
