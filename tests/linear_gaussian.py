"""A model whose evidence and posterior are known: x = W z + b + s ε with z, ε standard Gaussian."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearGaussian:
    """p(x, z) = N(z; 0, I) N(x; W z + b, s² I), for data x [B, D], in float64."""

    weight: Tensor  # [D, Z]
    bias: Tensor  # [D]
    std: float
    x: Tensor  # [B, D]

    @classmethod
    def random(
        cls, latent_dim: int, images: int = 5, pixels: int = 6, std: float = 0.5, seed: int = 0
    ) -> "LinearGaussian":
        """A random model and data simulated from it."""
        stream = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=stream, dtype=torch.float64)

        weight, bias = normal(pixels, latent_dim), normal(pixels)
        x = normal(images, latent_dim) @ weight.T + bias + std * normal(images, pixels)
        return cls(weight, bias, std, x)

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(x_b, z_sb): [S, B, Z] -> [S, B]."""
        noise = (self.x - z @ self.weight.T - self.bias) / self.std
        pixels, dims = self.weight.shape
        constant = 0.5 * (pixels + dims) * math.log(2 * math.pi) + pixels * math.log(self.std)
        return -0.5 * noise.square().sum(-1) - 0.5 * z.square().sum(-1) - constant

    def log_joint_table(self, rows: Tensor, z: Tensor) -> Tensor:
        """log p(x_b, z_g) of the images ``rows`` at every z [G, Z]: [b, G]."""
        whole = self.log_joint(z[:, None].expand(-1, len(self.x), -1))
        return whole.T[rows]

    def log_evidence(self) -> Tensor:
        """log N(x; b, W Wᵀ + s² I): [B]."""
        covariance = self.weight @ self.weight.T + self.std**2 * torch.eye(len(self.bias))
        return torch.distributions.MultivariateNormal(self.bias, covariance).log_prob(self.x)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean [B, Z] and covariance [Z, Z] of p(z | x): (I + Wᵀ W / s²)⁻¹ and its pull on x."""
        eye = torch.eye(self.weight.shape[1], dtype=torch.float64)
        covariance = torch.linalg.inv(eye + self.weight.T @ self.weight / self.std**2)
        return (self.x - self.bias) @ self.weight @ covariance / self.std**2, covariance
