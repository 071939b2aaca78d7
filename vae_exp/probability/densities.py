"""Log densities and samplers, written out: tensors in, tensors out, nothing else.

Every density sums over the last axis and broadcasts over all the others.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def factorized_gaussian_log_density(mean: Tensor, log_std: Tensor, x: Tensor) -> Tensor:
    """Log density of a Gaussian with diagonal covariance.

    log N(x; mean, σ²) = Σ_i [ −½ log 2π − log σ_i − ½ ((x_i − mean_i) / σ_i)² ],  σ = exp(log_std)

    Arguments broadcast against each other: [.., Z] each. Returns [..] in nats.
    """
    standardized = (x - mean) * torch.exp(-log_std)
    return (-0.5 * LOG_2PI - log_std - 0.5 * standardized.square()).sum(-1)


def standard_gaussian_log_density(z: Tensor) -> Tensor:
    """Log density of N(0, I): Σ_i [ −½ log 2π − ½ z_i² ]. [.., Z] -> [..] in nats."""
    return (-0.5 * LOG_2PI - 0.5 * z.square()).sum(-1)


def bernoulli_log_density(logits: Tensor, x: Tensor) -> Tensor:
    """Log mass of independent Bernoulli pixels with P(x_i = 1) = 1 / (1 + exp(−logit_i)).

    log p(x) = Σ_i [ x_i logit_i − log(1 + exp(logit_i)) ]

    The form in logits stays finite where a sigmoid would round to 0 or 1. Arguments broadcast:
    [.., D] each, x in {0, 1}. Returns [..] in nats.
    """
    return (x * logits - F.softplus(logits)).sum(-1)


def bernoulli_log_density_table(logits: Tensor, x: Tensor) -> Tensor:
    """Log mass of every image under every set of logits, as one matrix product.

    logits [G, D], x [B, D] -> [B, G] in nats; the same number as ``bernoulli_log_density``.
    """
    return torch.addmm(-F.softplus(logits).sum(-1), x, logits.T)


def gaussian_kl_to_standard(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL( N(mean, diag σ²) ‖ N(0, I) ) in closed form, one term a dimension.

    KL_i = ½ (mean_i² + σ_i² − 1) − log σ_i        (Kingma & Welling 2014, app. B, arXiv:1312.6114)

    [.., Z] -> [.., Z] in nats; sum over the last axis for the whole.
    """
    return 0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std


def sample_diag_gaussian(
    mean: Tensor,
    log_std: Tensor,
    *,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Reparameterised sample z = mean + exp(log_std) · ε with ε ~ N(0, I).

    ``noise`` is ε itself, [S, .., Z] for S samples of each; without it one ε of the shape of
    ``mean`` is drawn from ``generator``.
    """
    if noise is None:
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + torch.exp(log_std) * noise


def sample_bernoulli(
    logits: Tensor, *, noise: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Sample x_i = 1 where u_i < sigmoid(logit_i), u uniform on [0, 1). [.., D] -> [.., D].

    ``noise`` is u itself; without it u is drawn from ``generator``.
    """
    if noise is None:
        noise = torch.rand(
            logits.shape, generator=generator, device=logits.device, dtype=logits.dtype
        )
    return (noise < torch.sigmoid(logits)).to(logits.dtype)
