"""The inference gap of an encoder, per image, and which part of it each restriction costs.

log p(x) − ELBO(encoder) = [log p(x) − ELBO(best full-covariance Gaussian)]
                         + [best full − best diagonal] + [best diagonal − encoder]

Cremer et al. 2018, arXiv:1801.03558.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.inference import svi
from vae_exp.inference.progress import Progress
from vae_exp.inference.quadrature import elbo_of
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior, Q, combined
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.streams import generator

PARTS = ("not Gaussian", "no covariance", "amortisation")
BLOCK = 100  # images fitted at a time
TOLERANCE = 0.01  # nats, of an ELBO by Gauss-Hermite; any tells which of several starts is best
CANDIDATES = 512  # draws from the prior, of which the most likely are starts
MONTE_CARLO = 4096  # samples for an ELBO if no Gauss-Hermite rule applies


@dataclass(frozen=True)
class Gap:
    """ELBOs of the encoder's q and of the best Gaussians, per image [B], in nats.

    ``encoder``, ``diagonal`` and ``full`` are those q themselves.
    """

    elbo_encoder: Tensor
    elbo_diagonal: Tensor
    elbo_full: Tensor
    encoder: Posterior
    diagonal: DiagonalGaussian
    full: FullGaussian

    def parts(self, log_p_x: Tensor) -> dict[str, Tensor]:
        """The three parts of log p(x) − ELBO(encoder), in the order of PARTS: [B] each."""
        return {
            "not Gaussian": log_p_x - self.elbo_full,
            "no covariance": self.elbo_full - self.elbo_diagonal,
            "amortisation": self.elbo_diagonal - self.elbo_encoder,
        }


def inference_gap(
    model: VAE,
    x: Tensor,
    *,
    starts: int = 6,
    steps: int = 120,
    samples: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> Gap:
    """Fit the best diagonal and full-covariance Gaussian to every posterior p(z | x) by SVI.

    x [B, D]. A diagonal q starts from the encoder's and from ``starts`` promising z; a full one
    from the best diagonal q. A fit never ends below where it started: the start stays a candidate.
    """
    frozen = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    gaps = []
    for first in range(0, len(x), BLOCK):
        block = x[first : first + BLOCK]
        draws = generator(seed, "gap", first)
        gaps.append(_fit_block(model, block, starts, steps, samples, draws))
        if progress is not None:
            progress(min(1.0, (first + BLOCK) / len(x)))
    for parameter, required in zip(model.parameters(), frozen, strict=True):
        parameter.requires_grad_(required)
    return _joined(gaps)


def _fit_block(
    model: VAE, x: Tensor, starts: int, steps: int, samples: int, draws: torch.Generator
) -> Gap:
    def log_joint(z: Tensor) -> Tensor:
        return model.joint_log_density(x, z)

    def of_images(rows: Tensor) -> svi.LogJoint:
        return lambda z: model.joint_log_density(x[rows], z)

    def elbo(q: Posterior, tolerance: float = TOLERANCE) -> Tensor:
        return elbo_of(
            log_joint,
            q,
            tolerance=tolerance,
            of_images=of_images,
            samples=MONTE_CARLO,
            generator=draws,
        )

    encoder = model.posterior(x)
    like = encoder.mean
    prior = model.prior
    candidates = prior.sample(
        prior.noise.draw(CANDIDATES, generator=draws, device=like.device, dtype=like.dtype)
    )
    near_encoder = svi.diagonal_of(encoder)
    starting = svi.promising_starts(log_joint, candidates, len(x), starts=starts)
    # A few cheap steps tell which start deserves the rest.
    tried = svi.fit(
        log_joint,
        combined(torch.cat, [near_encoder.at(None), starting]),
        samples=4,
        steps=steps // 4,
        generator=draws,
    ).q
    reached = torch.stack([elbo(tried.at(i), math.inf) for i in range(starts + 1)])
    begun = svi.best_of_starts(tried, reached)
    fitted = svi.fit(log_joint, begun, samples=samples, steps=steps, lr=0.03, generator=draws).q
    diagonal, elbo_diagonal = _better(elbo, [near_encoder, begun, fitted])

    tilted = FullGaussian.from_diagonal(diagonal)
    full, elbo_full = _better(
        elbo,
        [
            tilted,
            svi.fit(log_joint, tilted, samples=samples, steps=steps, lr=0.05, generator=draws).q,
        ],
    )
    return Gap(elbo(encoder), elbo_diagonal, elbo_full, encoder, diagonal, full)


def _better(elbo: Callable[[Q], Tensor], candidates: list[Q]) -> tuple[Q, Tensor]:
    """For each image the candidate with the highest ELBO, and that ELBO."""
    values = torch.stack([elbo(q) for q in candidates])
    return svi.best_of_starts(combined(torch.stack, candidates), values), values.amax(0)


def _joined(gaps: list[Gap]) -> Gap:
    return Gap(
        torch.cat([gap.elbo_encoder for gap in gaps]),
        torch.cat([gap.elbo_diagonal for gap in gaps]),
        torch.cat([gap.elbo_full for gap in gaps]),
        combined(torch.cat, [gap.encoder for gap in gaps]),
        combined(torch.cat, [gap.diagonal for gap in gaps]),
        combined(torch.cat, [gap.full for gap in gaps]),
    )
