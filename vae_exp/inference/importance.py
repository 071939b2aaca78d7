"""Importance sampling: bounds from one stream of samples, and how far to trust them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.inference.svi import LogJoint
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.streams import generator

ROWS = 1024  # z at a time: their logits, 784 wide, stay in the cache
UNRELIABLE = 0.7  # k̂ beyond which an estimate is not to be trusted
DRAW = 256  # samples an image at a time: however many are asked for, the first ones are the same


@dataclass(frozen=True)
class Importance:
    """What the weights w = p(x, z) / q(z) of samples from q say of each image, in float64.

    ``bounds[k]`` is log (1/k) Σ_{s ≤ k} w_s, from exactly the first k samples. The other two are
    of all the samples: the effective number, (Σ w)² / Σ w², and the Pareto shape k̂ of the
    largest weights.
    """

    bounds: dict[int, Tensor]  # samples -> [N] in nats
    effective_samples: Tensor  # [N], from 1 to the number of samples
    pareto_k: Tensor  # [N]


def doubtful(pareto_k: Tensor) -> Tensor:
    """Whether a mean of weights is a lower bound only and its standard error says nothing."""
    return ~(pareto_k <= UNRELIABLE)  # nan too


def sign_of(higher: bool, lower: bool) -> str:
    """What stands before a number if the truth may be far higher, or far lower, than it."""
    return {(False, False): "", (True, False): "≥ ", (False, True): "≤ "}.get((higher, lower), "? ")


def bound_of(higher: bool, lower: bool) -> str | None:
    """The same in words, for metrics.json: None if the number is no bound but has an error."""
    return {"": None, "≥ ": "lower", "≤ ": "upper"}.get(sign_of(higher, lower), "neither")


@torch.no_grad()
def weigh(
    log_joint: LogJoint,
    q: Posterior,
    samples: Sequence[int],
    *,
    seed: int = 0,
    first: int = 0,
    rows: int = ROWS,
) -> Importance:
    """Weigh samples of any q over images [B] by any log joint, z [S, B, Z] -> [S, B] in nats.

    ``first`` is the place of the first image in the whole set, on which its noise depends.
    """
    rungs = sorted(set(samples))
    total = rungs[-1]
    images = len(q.like)
    weights = Weights(images, tail_length(total) + 1, q.like.device)
    streams = [generator(seed, "importance", first + image) for image in range(images)]
    bounds = {}
    for start in range(0, total, DRAW):
        z = q.sample(_noise(streams, q)[: total - start])
        blocks = z.split(max(1, rows // images))
        log_weights = torch.cat([log_joint(block) - q.log_prob(block) for block in blocks])
        done = 0
        for k in [k for k in rungs if start < k <= start + len(z)]:
            weights.add(log_weights[done : k - start])
            bounds[k] = weights.log_mean()
            done = k - start
        weights.add(log_weights[done:])
    return Importance(bounds, weights.effective_samples(), pareto_k(weights.largest))


class Weights:
    """Running sums of w and w² in units of the largest w yet, and the largest ``keep`` of log w."""

    def __init__(self, images: int, keep: int, device: torch.device | str = "cpu"):
        zeros = torch.zeros(images, dtype=torch.float64, device=device)
        self.count = 0
        self.unit = zeros - math.inf
        self.first = zeros.clone()
        self.second = zeros.clone()
        self.largest = torch.empty(0, images, dtype=torch.float64, device=device)
        self.keep = keep

    def add(self, log_weights: Tensor) -> None:
        """Take in log w [S, B] of S more samples; none is fine."""
        if not len(log_weights):
            return
        log_weights = log_weights.double()
        unit = torch.maximum(self.unit, log_weights.amax(0))
        shrink, w = torch.exp(self.unit - unit), torch.exp(log_weights - unit)
        self.unit = unit
        self.first = self.first * shrink + w.sum(0)
        self.second = self.second * shrink.square() + w.square().sum(0)
        self.count += len(log_weights)
        candidates = torch.cat([self.largest, log_weights])
        self.largest = candidates.topk(min(self.keep, len(candidates)), 0).values

    def log_mean(self) -> Tensor:
        """log (1/S) Σ w of all so far: [B] in nats."""
        return self.first.log() + self.unit - math.log(self.count)

    def effective_samples(self) -> Tensor:
        """(Σ w)² / Σ w²: [B], from 1 to S."""
        return self.first.square() / self.second


def tail_length(samples: int) -> int:
    """How many of the largest of so many weights are taken for the tail: min(S / 5, 3 √S)."""
    return math.ceil(min(samples / 5, 3 * math.sqrt(samples)))


def pareto_k(largest: Tensor) -> Tensor:
    """Shape k̂ of a generalised Pareto law of the largest weights.

    Vehtari et al. 2015, Pareto smoothed importance sampling, arXiv:1507.02646.

    ``largest`` [M + 1, B] holds their logs in descending order, the last of which is where the
    tail starts. Weights have finite moments below order 1/k: beyond k̂ = 0.7 a bound is not to be
    trusted as an estimate of log p(x). Returns [B]: nan if the tail has fewer than five weights,
    −∞ if they are all equal, +∞ if most are nothing beside the largest.
    """
    if len(largest) < 6:
        return torch.full_like(largest[0], math.nan)
    w = torch.exp(largest - largest[0])
    exceedances = (w[:-1] - w[-1]).flip(0)
    shape = pareto_shape(exceedances)
    length = len(exceedances)
    shape = (length * shape + 5) / (length + 10)  # Vehtari et al., appendix C: drawn to 0.5
    shape = torch.where(_quartile(exceedances) > 0, shape, math.inf)
    return torch.where(exceedances[-1] > 0, shape, -math.inf)


def pareto_shape(exceedances: Tensor) -> Tensor:
    """Shape k of P(X > x) = (1 + k x / σ)^(−1/k).

    Zhang & Stephens 2009, Technometrics 51(3): θ = −k/σ is averaged over its profile likelihood
    on a grid. exceedances [M, B], ascending -> [B].
    """
    length = len(exceedances)
    size = 30 + math.isqrt(length)
    grid = torch.arange(1, size + 1, dtype=exceedances.dtype, device=exceedances.device) - 0.5
    spread = (1 - torch.sqrt(size / grid))[:, None] / (3 * _quartile(exceedances))
    theta = 1 / exceedances[-1] + spread  # [grid, B]
    shape = torch.log1p(-theta[:, None] * exceedances).mean(1)
    profile = length * (torch.log(-theta / shape) - shape - 1)
    theta = (profile.softmax(0) * theta).sum(0)
    return torch.log1p(-theta * exceedances).mean(0)


def _quartile(ascending: Tensor) -> Tensor:
    return ascending[math.floor(len(ascending) / 4 + 0.5) - 1]


def _noise(streams: Sequence[torch.Generator], q: Posterior) -> Tensor:
    """DRAW further ε of every image's own stream: [DRAW, B, N]."""
    like = q.like
    draws = [q.noise.draw(DRAW, generator=stream, dtype=like.dtype) for stream in streams]
    return torch.stack(draws, 1).to(like.device)
