"""A few gradient steps on a q, of which the result can be differentiated."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vae_exp.probability.distributions import Q

STEEPEST = 5.0  # the norm of an image's gradient at which it is cut


def refined(
    bound: Callable[[Q, Tensor], Tensor],
    q: Q,
    noises: Sequence[Tensor],
    *,
    lr: float,
    through: bool = False,
) -> Q:
    """Move the parameters λ of q up a bound, a step for each noise: λ ← λ + lr ∇_λ bound(q_λ, ε).

    ``bound`` maps q over images [B] and noise to [B]; images do not touch each other. The gradient
    of an image is cut to the norm STEEPEST. With ``through`` the result depends on the first λ, and
    on all that ``bound`` reads, through every step; else only as λ + a constant
    (Kim et al. 2018, arXiv:1802.02550).
    """
    start = q.variational_parameters()
    leading = q.like.dim() - 1
    through = through and torch.is_grad_enabled()
    parameters = start
    with torch.enable_grad():
        for noise in noises:
            if not through or not parameters[0].requires_grad:
                parameters = [part.detach().requires_grad_() for part in parameters]
            value = bound(q.with_parameters(parameters), noise).sum()
            gradients = torch.autograd.grad(
                value, parameters, create_graph=through, allow_unused=True, materialize_grads=True
            )
            square = sum(g.flatten(leading).square().sum(-1) for g in gradients)
            assert isinstance(square, Tensor)
            rate = lr * STEEPEST * square.clamp(min=STEEPEST**2).rsqrt()
            parameters = [
                part + rate.reshape(rate.shape + (1,) * (g.dim() - leading)) * g
                for part, g in zip(parameters, gradients, strict=True)
            ]
    if not through:
        parameters = [
            part + (moved - part).detach() for part, moved in zip(start, parameters, strict=True)
        ]
    return q.with_parameters(parameters)
