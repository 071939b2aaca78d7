"""Stochastic variational inference: fit a q(z) to any log joint, for many images at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from vae_exp.inference import bounds
from vae_exp.probability.distributions import Posterior, Q
from vae_exp.probability.gaussians import DiagonalGaussian

LogJoint = Callable[[Tensor], Tensor]
ROWS = 4096  # z at a time: what their logits come to stays in the cache


@dataclass(frozen=True)
class Fit(Generic[Q]):
    """A fitted q and the ELBO estimate of every step: trace [steps, B] in nats."""

    q: Q
    trace: Tensor


def fit(
    log_joint: LogJoint,
    start: Q,
    *,
    samples: int = 16,
    steps: int = 300,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
) -> Fit[Q]:
    """Maximise E_q[log p(x, z) − log q(z)] over the parameters of q by Adam.

    ``log_joint`` maps z [S, .., Z] to [S, ..]; the leading axes of ``start`` (images, restarts)
    are fitted side by side and do not touch each other. The gradient follows z alone, without
    the score of q, so its noise vanishes if q is exact (Roeder et al. 2017,
    arXiv:1703.09194); ε comes in antithetic pairs; the step size falls to zero along a cosine.
    """
    parameters = [p.detach().clone().requires_grad_() for p in start.variational_parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    trace = []
    for _ in range(steps):
        optimizer.zero_grad()
        log_weights = []
        for noise in _blocks(antithetic_noise(samples, start, generator)):
            z = start.with_parameters(parameters).sample(noise)
            frozen = start.with_parameters([p.detach() for p in parameters])
            log_weights.append(log_joint(z) - frozen.log_prob(z))
            (-log_weights[-1].sum() / samples).backward(inputs=parameters)
        optimizer.step()
        schedule.step()
        trace.append(bounds.elbo(torch.cat(log_weights).detach()))
    return Fit(start.with_parameters([p.detach() for p in parameters]), torch.stack(trace))


def antithetic_noise(
    samples: int, q: Posterior, generator: torch.Generator | None = None
) -> Tensor:
    """Noise for a q in pairs ε, −ε: [samples, .., N]; an odd one stands alone."""
    half = q.draw_noise((samples + 1) // 2, generator)
    return torch.cat([half, -half])[:samples]


def _blocks(z: Tensor) -> tuple[Tensor, ...]:
    """z [S, .., Z] cut along its first axis, so that each block has about ROWS points."""
    blocks: tuple[Tensor, ...] = z.split(max(1, ROWS // max(1, z[0, ..., 0].numel())))
    return blocks


@torch.no_grad()
def elbo_of(
    log_joint: LogJoint,
    q: Posterior,
    *,
    samples: int = 256,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Monte Carlo estimate of the ELBO of a q that stays as it is: [B] in nats."""
    # Made first: small results among large blocks would keep their memory from being used again.
    log_weights = q.like.new_empty(samples, *q.like.shape[:-1])
    done = 0
    for noise in _blocks(antithetic_noise(samples, q, generator)):
        z = q.sample(noise)
        log_weights[done : done + len(z)] = log_joint(z) - q.log_prob(z)
        done += len(z)
    return bounds.elbo(log_weights)


@torch.no_grad()
def promising_starts(
    log_joint: LogJoint, candidates: Tensor, images: int, *, starts: int = 4, log_std: float = -2.0
) -> DiagonalGaussian:
    """Places to start from: for each image the most likely of ``candidates``, such as prior draws.

    The candidates z [C, Z] are dealt into ``starts`` disjoint sets and each set sends its best one,
    so the starts differ. Returns a diagonal Gaussian with leading axes [starts, images].
    """
    z = candidates[:, None].expand(-1, images, -1)
    score = torch.cat([log_joint(block) for block in _blocks(z)])  # [C, B]
    parts = score.tensor_split(starts)
    best = torch.stack([part.argmax(0) for part in parts])
    sizes = torch.tensor([0, *map(len, parts)], device=z.device)
    first = sizes.cumsum(0)[:-1]
    mean = z[best + first[:, None], torch.arange(images, device=z.device)]
    return DiagonalGaussian(mean, torch.full_like(mean, log_std))


def diagonal_of(q: Posterior) -> DiagonalGaussian:
    """The diagonal Gaussian with the mean and the variances of a q; a diagonal q itself."""
    if isinstance(q, DiagonalGaussian):
        return q
    return DiagonalGaussian(q.mean, 0.5 * q.scale().square().sum(-1).log())


def best_of_starts(q: Q, elbo: Tensor) -> Q:
    """For each image the start with the highest ELBO: leading axes [starts, B] -> [B]."""
    best = elbo.argmax(0)
    image = torch.arange(elbo.shape[1], device=elbo.device)
    return q.at((best, image))
