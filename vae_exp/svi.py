"""Stochastic variational inference: fit a q(z) to any log joint, for many images at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from vae_exp import bounds
from vae_exp.posteriors import DiagonalGaussian, Posterior

Q = TypeVar("Q", bound=Posterior)
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
    the score of q, so its noise vanishes where q is exact (Roeder et al. 2017,
    arXiv:1703.09194); ε comes in antithetic pairs; the step size falls to zero along a cosine.
    """
    parameters = [p.detach().clone().requires_grad_() for p in start.variational_parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    trace = []
    for _ in range(steps):
        optimizer.zero_grad()
        log_weights = []
        for noise in _blocks(antithetic_noise(samples, start.mean, generator)):
            z = start.with_parameters(parameters).sample(noise)
            frozen = start.with_parameters([p.detach() for p in parameters])
            log_weights.append(log_joint(z) - frozen.log_density(z))
            (-log_weights[-1].sum() / samples).backward(inputs=parameters)
        optimizer.step()
        schedule.step()
        trace.append(bounds.elbo(torch.cat(log_weights).detach()))
    return Fit(start.with_parameters([p.detach() for p in parameters]), torch.stack(trace))


def antithetic_noise(
    samples: int, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Standard Gaussian noise in pairs ε, −ε: [samples, *like.shape]; an odd one stands alone."""
    half = _drawn(((samples + 1) // 2, *like.shape), like, generator)
    return torch.cat([half, -half])[:samples]


def _blocks(z: Tensor) -> tuple[Tensor, ...]:
    """z [S, .., Z] cut along its first axis, so that each block has about ROWS points."""
    blocks: tuple[Tensor, ...] = z.split(max(1, ROWS // max(1, z[0, ..., 0].numel())))
    return blocks


def _drawn(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gaussian noise for the place and the precision of ``like``.

    Drawn where the generator is, so that a seed means the same numbers on every device.
    """
    place = like.device if generator is None else generator.device
    noise = torch.randn(shape, generator=generator, dtype=like.dtype, device=place)
    return noise.to(like.device)


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
    log_weights = q.mean.new_empty(samples, *q.mean.shape[:-1])
    done = 0
    for noise in _blocks(antithetic_noise(samples, q.mean, generator)):
        z = q.sample(noise)
        log_weights[done : done + len(z)] = log_joint(z) - q.log_density(z)
        done += len(z)
    return bounds.elbo(log_weights)


@torch.no_grad()
def promising_starts(
    log_joint: LogJoint,
    images: int,
    latent_dim: int,
    *,
    starts: int = 4,
    candidates: int = 512,
    log_std: float = -2.0,
    like: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> DiagonalGaussian:
    """Places to start from: for each image the best of ``candidates`` draws from the prior.

    The candidates are dealt into ``starts`` disjoint sets and each set sends its best one, so the
    starts differ. Returns a diagonal Gaussian with leading axes [starts, images], with the device
    and the precision of ``like``.
    """
    like = torch.empty(0) if like is None else like
    z = _drawn((candidates, 1, latent_dim), like, generator).expand(-1, images, -1)
    score = torch.cat([log_joint(block) for block in _blocks(z)])  # [candidates, B]
    best = torch.stack([part.argmax(0) for part in score.tensor_split(starts)])
    sizes = torch.tensor([0, *(len(part) for part in score.tensor_split(starts))], device=z.device)
    first = sizes.cumsum(0)[:-1]
    mean = z[best + first[:, None], torch.arange(images, device=z.device)]
    return DiagonalGaussian(mean, torch.full_like(mean, log_std))


def best_of_starts(q: Q, elbo: Tensor) -> Q:
    """For each image the start with the highest ELBO: leading axes [starts, B] -> [B]."""
    best = elbo.argmax(0)
    image = torch.arange(elbo.shape[1], device=elbo.device)
    return q.with_parameters([p[best, image] for p in q.variational_parameters()])
