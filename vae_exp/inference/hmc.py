"""Hamiltonian Monte Carlo for many independent chains of many images at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.inference.svi import LogJoint

ROWS = 1024  # z at a time through a log density: what their gradient needs stays in the cache


@dataclass(frozen=True)
class Point:
    """Where the chains are, and K log densities and their gradients there.

    The target of a transition is a sum of them, Σ_k a_k log f_k, so that the coefficients a [K]
    can change between transitions without another evaluation.
    """

    z: Tensor  # [C, B, Z]
    log_densities: Tensor  # [K, C, B] in nats
    gradients: Tensor  # [K, C, B, Z]

    @classmethod
    def at(cls, log_densities: Sequence[LogJoint], z: Tensor, rows: int = ROWS) -> "Point":
        """Evaluate log densities, z [C, B, Z] -> [C, B], and their gradients, by ``rows`` of z."""
        blocks = z.detach().split(max(1, rows // z.shape[1]))
        values, gradients = [], []
        for log_density in log_densities:
            pairs = [_value_and_gradient(log_density, block) for block in blocks]
            values.append(torch.cat([value for value, _ in pairs]))
            gradients.append(torch.cat([gradient for _, gradient in pairs]))
        return cls(z.detach(), torch.stack(values), torch.stack(gradients))

    def log_density(self, coefficients: Tensor) -> Tensor:
        """Σ_k a_k log f_k: [C, B]."""
        return (coefficients[:, None, None] * self.log_densities).sum(0)

    def gradient(self, coefficients: Tensor) -> Tensor:
        """Its gradient: [C, B, Z]."""
        return (coefficients[:, None, None, None] * self.gradients).sum(0)

    def where(self, condition: Tensor, other: "Point") -> "Point":
        """This point for the chains where ``condition`` [C, B] is true, ``other`` elsewhere."""
        return Point(
            torch.where(condition[..., None], self.z, other.z),
            torch.where(condition, self.log_densities, other.log_densities),
            torch.where(condition[..., None], self.gradients, other.gradients),
        )


def leapfrog(
    log_densities: Sequence[LogJoint],
    coefficients: Tensor,
    point: Point,
    momentum: Tensor,
    step_size: Tensor,
    steps: int,
) -> tuple[Point, Tensor]:
    """Follow dz/dt = p, dp/dt = ∇ log f(z) for ``steps`` steps of ε: reversible, volume-preserving.

    momentum [C, B, Z] and step_size [B] -> the end and the momentum there. One evaluation of the
    log densities a step (Neal 2011, MCMC using Hamiltonian dynamics, arXiv:1206.1901).
    """
    step = step_size[:, None]
    momentum = momentum + 0.5 * step * point.gradient(coefficients)
    for left in reversed(range(steps)):
        point = Point.at(log_densities, point.z + step * momentum)
        momentum = momentum + (1.0 if left else 0.5) * step * point.gradient(coefficients)
    return point, momentum


def transition(
    log_densities: Sequence[LogJoint],
    coefficients: Tensor,
    point: Point,
    step_size: Tensor,
    steps: int,
    generator: torch.Generator,
) -> tuple[Point, Tensor]:
    """One HMC transition of every chain, which leaves Π_k f_k^{a_k} as it is, whatever the step.

    A trajectory from a fresh Gaussian momentum is taken with probability
    min(1, exp(H(start) − H(end))), H = ½ |p|² − log f. A trajectory that diverges is rejected.

    step_size [B] -> the next point, and that probability as a mean over chains, [B].
    """
    z = point.z
    momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    end, end_momentum = leapfrog(log_densities, coefficients, point, momentum, step_size, steps)
    log_ratio = (
        end.log_density(coefficients)
        - 0.5 * end_momentum.square().sum(-1)
        - point.log_density(coefficients)
        + 0.5 * momentum.square().sum(-1)
    ).nan_to_num(nan=-torch.inf)
    uniform = torch.rand(log_ratio.shape, generator=generator, dtype=z.dtype).to(z.device)
    accepted = uniform.log() < log_ratio
    return end.where(accepted, point), log_ratio.clamp_max(0).exp().mean(0)


def _value_and_gradient(log_density: LogJoint, z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_density(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient
