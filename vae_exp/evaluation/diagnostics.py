"""How far an encoder's q(z | x) can be trusted, from the encoder and its own model alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_exp.inference.importance import UNRELIABLE
from vae_exp.inference.progress import Progress
from vae_exp.models.vae import VAE
from vae_exp.probability.densities import LOG_2PI
from vae_exp.probability.distributions import Distribution, Posterior, combined
from vae_exp.probability.divergences import kl as closed_form_kl
from vae_exp.probability.divergences import kl_per_dimension as kl_per_dimension
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.streams import generator

ACTIVE = 0.01  # variance of the encoder's mean above which a unit counts as active
LEVELS = (0.5, 0.8, 0.95)
BINS = 20  # of a rank histogram
BLOCK = 500  # rows at a time
SAMPLES = 1000  # of a q for what has no closed form
TOLERANCE = 0.03  # by which a coverage may miss its level
ERRORS = 3.0  # standard errors that a miss must exceed as well
FEW = 0.05  # of the images may have such a k̂


@torch.no_grad()
def encode(model: VAE, images: Tensor) -> Posterior:
    """The encoder's q(z | x) of images [N, D], in float64 on the processor."""
    parts = [model.posterior(x.to(model.device)) for x in images.split(BLOCK)]
    q = combined(torch.cat, parts)
    return q.with_parameters([part.double().cpu() for part in q.variational_parameters()])


def mean_variance(q: Posterior) -> Tensor:
    """Variance over images of the encoder's mean: [Z]; a unit is active where it exceeds ACTIVE.

    A_u = Var_x( E_{q(u | x)}[u] )                       (Burda et al. 2016, arXiv:1509.00519)
    """
    return q.mean.var(0)


def mean_variance_error(q: Posterior) -> Tensor:
    """Standard error over images of ``mean_variance``: [Z]."""
    return (q.mean - q.mean.mean(0)).square().std(0) / math.sqrt(len(q.mean))


def kl_to_prior(q: Posterior, prior: Distribution, seed: int) -> Tensor:
    """KL( q(z | x) ‖ p(z) ): [N] in nats, in closed form or estimated from SAMPLES z an image."""
    exact = closed_form_kl(q, prior)
    if exact is not None:
        return exact
    draws = generator(seed, "kl")

    def sampled(q: Posterior) -> Tensor:
        z = q.draw(SAMPLES, draws)
        return (q.log_prob(z) - prior.log_prob(z)).mean(0)

    return torch.cat([sampled(part) for part in _blocks(q)])


@dataclass(frozen=True)
class Calibration:
    """Where the true z lie in q(z | x), on data of which they are known.

    ``mass`` is the probability under q of the ellipsoid that has the true z on its border, and
    ``ranks`` are q's distribution functions at its coordinates, to which the rank among L draws
    from q, over L, converges. If every q is the posterior, all are uniform on [0, 1].
    Talts et al. 2018, arXiv:1804.06788.
    """

    mass: Tensor  # [N]
    ranks: Tensor  # [N, Z]

    def coverage(self, level: float) -> tuple[float, float]:
        """The share of true z in q's region of that mass, and its binomial standard error."""
        share = (self.mass <= level).double().mean().item()
        return share, math.sqrt(share * (1 - share) / len(self.mass))

    def histogram(self) -> Tensor:
        """Counts of the ranks in BINS equal bins: [Z, BINS]."""
        bins = (self.ranks * BINS).long().clamp(max=BINS - 1)
        counts: Tensor = F.one_hot(bins, BINS).sum(0)
        return counts

    def departure(self) -> Tensor:
        """Pearson's χ² of the histograms from uniform ones: [Z], near BINS − 1 if calibrated."""
        expected = len(self.ranks) / BINS
        excess = self.histogram().double() - expected
        return excess.square().sum(1) / expected

    def uniformity(self) -> Tensor:
        """The p-value of each dimension's ``departure``: [Z]."""
        statistic = self.departure()
        freedom = torch.full_like(statistic, (BINS - 1) / 2)
        p_value: Tensor = torch.special.gammaincc(freedom, statistic / 2)
        return p_value


def calibration(q: Posterior, z: Tensor, seed: int = 0) -> Calibration:
    """Place the true z [N, Z] of N images in their q.

    In closed form for Gaussians, by ε = L⁻¹ (z − mean), |ε|² and Φ; else by SAMPLES draws of each.
    """
    z = z.double()
    if not isinstance(q, DiagonalGaussian | FullGaussian):
        return _calibration_by_samples(q, z, generator(seed, "calibration"))
    scale, centred = q.scale(), z - q.mean
    noise = torch.linalg.solve_triangular(scale, centred[..., None], upper=False)[..., 0]
    square = noise.square().sum(-1)
    half_dims = torch.full_like(square, z.shape[-1] / 2)
    return Calibration(
        torch.special.gammainc(half_dims, square / 2),  # χ² with Z degrees of freedom
        torch.special.ndtr(centred / scale.square().sum(-1).sqrt()),
    )


def _calibration_by_samples(q: Posterior, z: Tensor, stream: torch.Generator) -> Calibration:
    mass, ranks = [], []
    for part, true in zip(_blocks(q), z.split(BLOCK), strict=True):
        draws = part.draw(SAMPLES, stream)
        denser = part.log_prob(draws) > part.log_prob(true[None])
        mass.append(denser.double().mean(0))
        ranks.append((draws < true).double().mean(0))
    return Calibration(torch.cat(mass), torch.cat(ranks))


def _blocks(q: Posterior) -> list[Posterior]:
    """The q of BLOCK images at a time."""
    return [q.at(slice(first, first + BLOCK)) for first in range(0, len(q.like), BLOCK)]


def histogram_band(count: int, probability: float = 0.95) -> tuple[float, float]:
    """Between which counts all bars of a uniform histogram of ``count`` ranks lie at once.

    Each bar is Binomial(count, 1 / BINS); Bonferroni makes the probability that of all together.
    """
    low, high = _binomial_interval(1 - (1 - probability) / BINS, count, 1 / BINS)
    return float(low), float(high)


def _binomial_interval(probability: float, count: int, share: Any) -> tuple[Any, Any]:
    """Between which counts Binomial(count, share) lies, as often above it as below."""
    from scipy.stats import binom  # half a second to import, and most commands need none of it

    low, high = binom.interval(probability, count, share)
    return low, high


def coverage_band(levels: Tensor, count: int, probability: float = 0.95) -> tuple[Tensor, Tensor]:
    """Between which shares the coverage of each level lies, for each level by itself."""
    low, high = _binomial_interval(probability, count, levels.numpy())
    return torch.from_numpy(low) / count, torch.from_numpy(high) / count


@dataclass(frozen=True)
class Aggregate:
    """The aggregate posterior q(z) = (1/N) Σ_n q(z | x_n) against the prior.

    ``kl`` are log q(z_n) − log p(z_n) at one z_n ~ q(z | x_n) an image. Its mean estimates
    KL(q(z) ‖ p(z)) without bias for these N images; for images beyond them it is too high, as
    q(z | x_n) is a part of q(z), and the mean of ``kl_left_out``, in which it is left out, is
    too low: by Jensen's inequality the two expectations hold the truth between them. The mean KL
    of the bound less either is the mutual information of image and z (Hoffman & Johnson 2016,
    ELBO surgery), of which the mean of ``kl`` cannot tell more than log N.

    All terms share one mixture, but s / √N holds for their mean: as a part of the mixture, image n
    moves it by Σ_g q_n(z_g) / Σ_m q_m(z_g) − 1, whose expectation over z_g ~ q(z) is ∫ q_n − 1 = 0.
    """

    mean: Tensor  # [Z]
    covariance: Tensor  # [Z, Z]
    mean_error: Tensor  # [Z] standard error over images
    variance_error: Tensor  # [Z] of the covariance's diagonal
    kl: Tensor  # [N] in nats
    kl_left_out: Tensor  # [N] in nats


def aggregate(
    q: Posterior, prior: Distribution, seed: int, progress: Progress | None = None
) -> Aggregate:
    """Moments of the mixture of all q, and its log density at one z of each, in O(N²)."""
    count, dims = q.mean.shape
    covariance = q.mean.T.cov(correction=0).reshape(dims, dims)
    scale = q.scale()
    covariance = covariance + (scale @ scale.mT).mean(0)
    spread = scale.square().sum(-1) + (q.mean - q.mean.mean(0)).square()  # its mean: the variance
    # The noise is drawn in single precision, so that its numbers do not depend on that of q.
    z = q.sample(q.noise.draw(1, count, generator=generator(seed, "aggregate")).double())[0]

    log_densities = _table(q)
    own, others = [], []
    for first, rows in zip(range(0, count, BLOCK), z.split(BLOCK), strict=True):
        log_density = log_densities(rows)  # [BLOCK, N]
        diagonal = log_density.diagonal(first)
        own.append(diagonal.clone())
        diagonal.fill_(-math.inf)
        others.append(log_density.logsumexp(1))
        if progress is not None:
            progress((first + len(rows)) / count)
    rest = torch.cat(others)
    log_prior = prior.log_prob(z)
    return Aggregate(
        q.mean.mean(0),
        covariance,
        q.mean.std(0) / math.sqrt(count),
        spread.std(0) / math.sqrt(count),
        torch.logaddexp(rest, torch.cat(own)) - math.log(count) - log_prior,
        rest - math.log(count - 1) - log_prior,
    )


def _table(q: Posterior) -> Callable[[Tensor], Tensor]:
    """log q_n(z_g) of all N images: z [G, Z] -> [G, N]."""
    if not isinstance(q, DiagonalGaussian):
        return lambda z: q.log_prob(z[:, None].expand(-1, len(q.mean), -1))
    # log N(z; mean, σ²) is linear in (z², z, 1): a table over z and images is one product.
    precision = torch.exp(-2 * q.log_std)
    constant = -0.5 * (q.mean.square() * precision + LOG_2PI) - q.log_std
    weight = torch.cat([-0.5 * precision, q.mean * precision, constant.sum(1, keepdim=True)], 1)
    return lambda z: torch.cat([z.square(), z, torch.ones_like(z[:, :1])], 1) @ weight.T


def miscalibration(calibrated: Calibration) -> str | None:
    """Overconfident, underconfident, or misshapen if levels disagree; None if none misses.

    A coverage misses its level by more than TOLERANCE and ERRORS binomial standard errors.
    """
    above = set()
    for level in LEVELS:
        miss = calibrated.coverage(level)[0] - level
        error = math.sqrt(level * (1 - level) / len(calibrated.mass))
        if abs(miss) > max(TOLERANCE, ERRORS * error):
            above.add(miss > 0)
    if len(above) == 2:
        return "misshapen"
    return {True: "underconfident", False: "overconfident"}[above.pop()] if above else None


def verdict(variance: Tensor, calibrated: Calibration, pareto_k: Tensor) -> dict[str, str]:
    """What is amiss with q, in words, and the numbers that each word rests on; or "fine".

    ``variance`` [Z] of the encoder's mean over images; ``pareto_k`` [N] of q as a proposal.
    """
    inactive = int((variance <= ACTIVE).sum())
    units = (
        f"the mean of {inactive} of {len(variance)} units varies by less than {ACTIVE} over images"
        if inactive
        else f"all {len(variance)} units are active"
    )
    levels = " / ".join(f"{100 * level:.0f}" for level in LEVELS)
    held = " / ".join(f"{100 * calibrated.coverage(level)[0]:.0f}" for level in LEVELS)
    regions = f"q's {levels} % regions hold {held} % of the true z of simulated images"
    unreliable = (pareto_k > UNRELIABLE).double().mean().item()
    weights = f"k̂ is above {UNRELIABLE} for {100 * unreliable:.0f} % of images"
    words = {}
    if inactive:
        words["collapsed units"] = units
    calibrated_word = miscalibration(calibrated)
    if calibrated_word:
        words[calibrated_word] = regions
    if unreliable > FEW:
        words["poor proposal"] = weights
    return words or {"fine": f"{units}; {regions}; {weights}"}
