"""From log weights log p(x, z) − log q(z) to bounds on log p(x). Axes: [S, B] -> [B]."""

import math

import torch
from torch import Tensor


def elbo(log_weights: Tensor) -> Tensor:
    """Evidence lower bound: (1/S) Σ_s log w_s. [S, B] -> [B] in nats per image."""
    return log_weights.mean(0)


def iwae(log_weights: Tensor) -> Tensor:
    """Importance-weighted bound: log (1/S) Σ_s w_s (Burda et al. 2016, eq. 8, arXiv:1509.00519).

    [S, B] -> [B] in nats per image; with S = 1 it is the ELBO.
    """
    return torch.logsumexp(log_weights, 0) - math.log(log_weights.shape[0])


def renyi(log_weights: Tensor, alpha: float) -> Tensor:
    """Rényi's bound: (1 − α)⁻¹ log (1/S) Σ_s w_s^(1 − α) (Li & Turner 2016, arXiv:1602.02311).

    [S, B] -> [B] in nats per image; α = 1 is the ELBO, its limit, and α = 0 is ``iwae``.
    """
    power = 1 - alpha
    if power == 0:
        return elbo(log_weights)
    # Powers that are at most 1 keep a small 1 − α from rounding the bound away.
    largest = log_weights.amax(0) if power > 0 else log_weights.amin(0)
    largest = largest.detach()
    mean = torch.expm1(power * (log_weights - largest)).mean(0)
    return largest + torch.log1p(mean) / power


def loss(bound: Tensor) -> Tensor:
    """The one thing that is minimised: minus the mean bound. [B] -> scalar."""
    return -bound.mean()
