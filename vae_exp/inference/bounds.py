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


def loss(bound: Tensor) -> Tensor:
    """The one thing that is minimised: minus the mean bound. [B] -> scalar."""
    return -bound.mean()
