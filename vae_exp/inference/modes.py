"""log p(x) by importance sampling from Student-t densities about the modes of a posterior.

For any number of latent dimensions, as AIS, but without chains: it is far better than AIS if the
posterior is a few bumps, and k̂ tells if it is not.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae_exp.inference import svi
from vae_exp.inference.importance import ROWS, Weights, doubtful, pareto_k, tail_length
from vae_exp.inference.svi import LogJoint
from vae_exp.probability.distributions import Distribution, combined
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.probability.student_t import StudentTMixture

STARTS = 8  # of SVI, of which the encoder's q is one
DEGREES = 5  # ν: heavy tails, and a variance
DEFENCE = 0.1  # of the samples come from the prior, so that no weight exceeds p(x | z) / DEFENCE
SPREAD = 0.1  # of the mixture's weight is shared by all modes alike
CANDIDATES = 512  # draws from the prior, of which the most likely are starts
SCORED = 32  # samples for the ELBO that weighs a mode


@dataclass(frozen=True)
class AtModes:
    """What importance sampling says of log p(x) of images [B], in nats, float64.

    ``error`` is √(1/ESS − 1/S), one standard error, which says nothing if k̂ is above 0.7. ``z``
    [B, Z] is drawn from the samples by their weights: nearly one of p(z | x), if k̂ is not.
    """

    log_p_x: Tensor
    error: Tensor
    pareto_k: Tensor
    z: Tensor

    @property
    def trusted(self) -> Tensor:
        """Whether the value and its error can be used: bool [B]."""
        return ~doubtful(self.pareto_k)

    @classmethod
    def joined(cls, parts: "list[AtModes]") -> "AtModes":
        """Those of several blocks of images as one."""
        fields = ("log_p_x", "error", "pareto_k", "z")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def mixture_at_modes(
    log_joint: LogJoint,
    encoder: DiagonalGaussian,
    prior: Distribution,
    generator: torch.Generator,
    *,
    starts: int = STARTS,
    samples: int = 2,
    steps: int = 60,
) -> StudentTMixture:
    """Student-t densities about the modes that SVI finds from ``starts`` places.

    One start is the encoder's q over images [B], the others are the most likely of some draws from
    the prior. A mode's weight comes from its ELBO, its scale from the Hessian of log p(x, z) at
    the mean of q. ``log_joint`` maps z [S, .., B, Z] to [S, .., B].
    """
    like = encoder.like
    candidates = prior.sample(
        prior.noise.draw(CANDIDATES, generator=generator, device=like.device, dtype=like.dtype)
    )
    places = [encoder.at(None)]
    if starts > 1:
        places.append(svi.promising_starts(log_joint, candidates, len(like), starts=starts - 1))
    begun = combined(torch.cat, places)
    q = svi.fit(log_joint, begun, samples=samples, steps=steps, generator=generator).q
    elbo = svi.elbo_of(log_joint, q, samples=SCORED, generator=generator).double()
    log_weights = torch.logaddexp(
        elbo.log_softmax(0) + math.log(1 - SPREAD), elbo.new_tensor(math.log(SPREAD / starts))
    )
    return StudentTMixture(q.mean, _scales(log_joint, q), log_weights.to(like), DEGREES)


def _scales(log_joint: LogJoint, q: DiagonalGaussian) -> Tensor:
    """L with L Lᵀ = (−∇² log p(x, z))⁻¹ at the mean of q: [.., Z, Z].

    No direction is wider than the widest one of q, so that a saddle has a scale too.
    """
    with torch.enable_grad():
        z = q.mean.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_joint(z[None]).sum(), z, create_graph=True)
        rows = [
            torch.autograd.grad(part.sum(), z, retain_graph=True)[0] for part in gradient.unbind(-1)
        ]
    curvature = -torch.stack(rows, -2).double()
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    least = torch.exp(-2 * q.log_std.double()).amin(-1, keepdim=True)
    values = torch.maximum(values, least)
    covariance = (vectors / values[..., None, :]) @ vectors.mT
    scale: Tensor = torch.linalg.cholesky(covariance).to(q.like)
    return scale


@torch.no_grad()
def weigh(
    log_joint: LogJoint,
    mixture: StudentTMixture,
    prior: Distribution,
    samples: int,
    generator: torch.Generator,
) -> AtModes:
    """log (1/S) Σ_s p(x, z_s) / q(z_s) with the mixture and the prior together as q.

    Of the S samples the share DEFENCE is drawn from the prior, the others from the mixture, and
    q is the two in this proportion (Hesterberg 1995, Technometrics 37(2)).
    """
    like = mixture.location[0]  # [B, Z]
    settings: dict[str, Any] = {"generator": generator, "device": like.device, "dtype": like.dtype}
    from_prior = max(1, round(DEFENCE * samples))
    noise = mixture.noise.draw(samples - from_prior, len(like), **settings)
    defence = prior.noise.draw(from_prior, len(like), **settings)
    z = torch.cat([mixture.sample(noise), prior.sample(defence)])
    share = math.log(from_prior / samples)
    others = math.log1p(-from_prior / samples)
    log_weights = torch.cat(
        [
            log_joint(block).double()
            - torch.logaddexp(
                others + mixture.log_prob(block).double(), share + prior.log_prob(block).double()
            )
            for block in z.split(max(1, ROWS // len(like)))
        ]
    )
    weights = Weights(len(like), tail_length(samples) + 1, like.device)
    weights.add(log_weights)
    error = (1 / weights.effective_samples() - 1 / samples).clamp(min=0).sqrt()
    chosen = _drawn(log_weights, generator)
    return AtModes(
        weights.log_mean(),
        error,
        pareto_k(weights.largest),
        z[chosen, torch.arange(len(like), device=z.device)],
    )


def _drawn(log_weights: Tensor, generator: torch.Generator) -> Tensor:
    """A sample's place for each image, by its weights: [S, B] -> [B]."""
    edges = log_weights.softmax(0).cumsum(0)
    u = torch.rand(edges.shape[1], generator=generator, dtype=edges.dtype).to(edges.device)
    return (edges < u * edges[-1]).sum(0).clamp(max=len(edges) - 1)
