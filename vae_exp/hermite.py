"""Expectations under a Gaussian without Monte Carlo: Gauss-Hermite rules on a line or a plane."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.posteriors import Posterior


def standard_rule(nodes: int, dims: int) -> tuple[Tensor, Tensor]:
    """Points ε [S, Z] and weights [S] with E f(ε) ≈ Σ_s w_s f(ε_s), ε ~ N(0, I), S = nodes^Z.

    Exact for polynomials of degree 2·nodes − 1 in each dimension; in float64.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    axis = torch.from_numpy(points)
    share = torch.from_numpy(weights / weights.sum())
    if dims == 1:
        return axis[:, None], share
    if dims == 2:
        return torch.cartesian_prod(axis, axis), torch.outer(share, share).flatten()
    raise UserError(f"Gauss-Hermite rules are for latent_dim 1 or 2, got {dims}")


def gaussian_elbo(log_joint: Callable[[Tensor], Tensor], q: Posterior, nodes: int = 10) -> Tensor:
    """E_q log p(x, z) + H(q) of Gaussian q [B], by a rule rotated and scaled by each q.

    ``log_joint`` maps z [S, B, Z] to [S, B]. Returns [B] in nats, float64.
    """
    rule, weights = standard_rule(nodes, q.mean.shape[-1])
    noise = rule.to(q.mean)[:, None, :].expand(-1, q.mean.shape[0], -1)
    values = log_joint(q.sample(noise)).double()
    return weights.to(values.device) @ values + q.entropy().double()
