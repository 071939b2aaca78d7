"""Independent Bernoulli pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.probability.densities import bernoulli_log_density, sample_bernoulli
from vae_exp.probability.distributions import Distribution, Noise


@dataclass(frozen=True)
class Bernoulli(Distribution):
    """p(x) = Π_i σ(logit_i)^x_i (1 − σ(logit_i))^(1 − x_i); logits [.., D]."""

    logits: Tensor

    @property
    def noise(self) -> Noise:
        """A uniform number for each pixel."""
        return Noise("uniform", self.logits.shape[-1])

    @property
    def mean(self) -> Tensor:
        """σ(logits)."""
        return torch.sigmoid(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """Σ_i x_i logit_i − log(1 + exp(logit_i))."""
        return bernoulli_log_density(self.logits, value)

    def sample(self, noise: Tensor) -> Tensor:
        """1 if the noise of a pixel is below its mean."""
        return sample_bernoulli(self.logits, noise=noise)
