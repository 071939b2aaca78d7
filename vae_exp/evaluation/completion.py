"""Which z explain an image's visible pixels, and how well they foretell the hidden ones.

log p(hidden | visible) = log p(x) − log p(visible) = log E_{p(z | visible)} p(hidden | z)
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from vae_exp.evaluation.exact import evidence, has_grid, is_exact, vae_table
from vae_exp.inference import svi
from vae_exp.inference.importance import Importance, doubtful, weigh
from vae_exp.inference.lattice import Integral
from vae_exp.inference.quadrature import elbo_of, elbo_with_error, posterior_grid
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior, combined
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.streams import generator, stream_seed

EXACT = "exact"
TWO_PROPOSALS = "importance, two q"  # stands in for EXACT if latent_dim > 3
IMPORTANCE = "importance, one q"
FULL, DIAGONAL, ENCODER = "full q", "diagonal q", "encoder"
AGREE = 0.1  # nats
POINTS = 8192  # z at a time, and from a proposal for the posterior of one image
NEGLIGIBLE = 1e-8  # of the largest weight


@dataclass(frozen=True)
class Masked:
    """Images x [B, D] of which only the pixels ``seen`` [D], the same of each, are visible."""

    model: VAE
    x: Tensor
    seen: Tensor

    @cached_property
    def pixels(self) -> Tensor:
        """The indices of the visible pixels: [d]."""
        return self.seen.nonzero().flatten()

    @cached_property
    def visible(self) -> Tensor:
        """The visible part of every image: [B, d]."""
        return self.x[:, self.pixels]

    @cached_property
    def exact(self) -> Integral:
        """log p(visible) of every image, if latent_dim <= 3."""
        return evidence(self.model, self.visible, self.pixels)

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(z, visible pixels): [.., B, Z] -> [.., B] in nats."""
        return self.model.joint_log_density(self.visible, z, self.pixels)

    def of_images(self, rows: Tensor) -> svi.LogJoint:
        """``log_joint`` of some of the images."""
        return Masked(self.model, self.x[rows], self.seen).log_joint

    @torch.no_grad()
    def complete(self, z: Tensor) -> Tensor:
        """The visible pixels joined to the means of p(hidden | z): [.., B, Z] -> [.., B, D]."""
        return torch.where(self.seen, self.x, self.model.likelihood(z).mean)


@dataclass(frozen=True)
class Inference:
    """Gaussian q(z) of B images from their visible pixels.

    ``full`` and ``diagonal`` are fitted by SVI. ``encoder`` is the encoder's q if hidden pixels
    are fed as zeros: a mistake, as it then takes the hidden part for seen and empty.
    """

    full: FullGaussian
    diagonal: DiagonalGaussian
    encoder: Posterior
    trace: Tensor  # [steps, B] ELBO estimates in nats of the diagonal q that won
    restarts: Tensor  # [R, B] ELBO in nats that each restart of the diagonal q reached
    restart_errors: Tensor  # [R, B] of these, in nats

    @property
    def agreeing(self) -> int:
        """How many restarts of the first image came to the same ELBO, within AGREE."""
        reached = self.restarts[:, 0]
        return int((reached > reached.max() - AGREE).sum())

    def by_name(self) -> dict[str, Posterior]:
        """Every q; a full one is no other than the diagonal one if there is one dimension."""
        full = {FULL: self.full} if self.full.mean.shape[-1] > 1 else {}
        return {**full, DIAGONAL: self.diagonal, ENCODER: self.encoder}


class Score(NamedTuple):
    """log p(hidden | visible) of every image by one method, and more: [B] each, float64.

    ``error`` is one Monte Carlo standard error, or for the exact value a bound. If ``pareto_k``
    is above 0.7 a few z carry a mean of weights, which is then a lower bound only: ``error`` is
    infinite, and ``higher`` and ``lower`` tell on which side the truth may lie, on both if two
    doubtful means are subtracted. ``pareto_k`` is −∞ if nothing is sampled. ``kl`` is
    KL(q ‖ p(z | visible)) and ``kl_error`` how far it may be off; that is infinite if it is a lower
    bound, and both are nan if there is no q.
    """

    log_p_hidden: Tensor
    error: Tensor
    pareto_k: Tensor
    kl: Tensor
    kl_error: Tensor
    higher: Tensor
    lower: Tensor


def infer(
    masked: Masked,
    *,
    restarts: int = 10,
    steps: int = 300,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> Inference:
    """Fit q(z | visible pixels) to every image by SVI: the ELBO of log p(visible) at its highest.

    The diagonal q is the best of ``restarts``; the full-covariance one starts from it and never
    ends below it. The model's parameters get no gradient and stay as they are.
    """
    images, prior = len(masked.x), masked.model.prior
    noise = prior.noise.draw(
        max(512, 8 * restarts),
        generator=generator,
        device=masked.x.device,
        dtype=masked.x.dtype,
    )
    starts = svi.promising_starts(masked.log_joint, prior.sample(noise), images, starts=restarts)
    fit = svi.fit(masked.log_joint, starts, samples=samples, steps=steps, generator=generator)
    reached, errors = elbo_with_error(
        masked.log_joint, fit.q, of_images=masked.of_images, generator=generator
    )
    diagonal = svi.best_of_starts(fit.q, reached)
    with torch.no_grad():
        encoder = masked.model.posterior(torch.where(masked.seen, masked.x, 0.0))
    return Inference(
        fit_full(masked, diagonal, steps, 4 * samples, generator),
        diagonal,
        encoder,
        fit.trace[:, reached.argmax(0), torch.arange(images)],
        reached,
        errors,
    )


def fit_full(
    masked: Masked,
    start: DiagonalGaussian,
    steps: int,
    samples: int,
    generator: torch.Generator | None,
) -> FullGaussian:
    """The full-covariance q that SVI makes of a diagonal one, or that one if it is better."""
    tilted = FullGaussian.from_diagonal(start)
    fit = svi.fit(
        masked.log_joint, tilted, samples=samples, steps=steps, lr=0.05, generator=generator
    )
    both = combined(torch.stack, [tilted, fit.q])
    elbo = elbo_of(masked.log_joint, both, of_images=masked.of_images, generator=generator)
    return svi.best_of_starts(both, elbo)


def scores(
    masked: Masked, found: Inference, *, samples: int = 2000, seed: int = 0, first: int = 0
) -> dict[str, Score]:
    """log p(hidden | visible) of every image by every method, the most reliable first.

    exact: log p(x) − log p(visible), two integrals. If latent_dim > 3, importance with two q:
    the same difference, each sampled from a q that was fitted to it. Importance with one q:
    log Σ_s w_s p(hidden | z_s) / Σ_s w_s with w = p(z, visible) / q(z). Of a q itself: log of the
    mean of p(hidden | z) over z ~ q, which is no bound: it may exceed the exact value.
    ``first`` is the place of the first image in the whole set, on which its noise depends.
    """
    model, x, pixels = masked.model, masked.x, masked.pixels
    hidden = (~masked.seen).nonzero().flatten()
    log_whole = model.log_joint_of_each(x)
    log_visible = model.log_joint_of_each(masked.visible, pixels)
    log_hidden = model.log_likelihood_of_each(x[:, hidden], hidden)

    def log_visible_of(rows: Tensor) -> svi.LogJoint:
        return model.log_joint_of_each(masked.visible[rows], pixels)

    none = torch.full((len(x),), math.nan, dtype=torch.float64)
    unsampled, no = torch.full_like(none, -math.inf), torch.zeros(len(x), dtype=torch.bool)

    def weighed(log_joint: svi.LogJoint, q: Posterior, stream: str = "one q") -> Importance:
        key = stream_seed(seed, "completion", stream)
        return weigh(log_joint, q, (samples,), seed=key, first=first)

    def difference(whole: Importance, visible: Importance) -> Score:
        return Score(
            whole.bounds[samples] - visible.bounds[samples],
            torch.hypot(standard_error(whole, samples), standard_error(visible, samples)),
            torch.maximum(whole.pareto_k, visible.pareto_k),
            none,
            none,
            doubtful(whole.pareto_k),
            doubtful(visible.pareto_k),
        )

    proposal = wider(found.full)
    visible = weighed(log_visible, proposal)
    scored = {}
    if is_exact(model):
        exact_whole, exact_visible = evidence(model, x), masked.exact
        log_p_visible = exact_visible.log_p_x
        error = exact_whole.error + exact_visible.error
        visible_error = exact_visible.error
        difference_of_two = exact_whole.log_p_x - log_p_visible
        scored[EXACT] = Score(difference_of_two, error, unsampled, none, none, no, no)
    else:
        log_p_visible = visible.bounds[samples]
        visible_error = standard_error(visible, samples)
        unmasked = Masked(model, x, torch.ones_like(masked.seen))
        with torch.no_grad():
            start = svi.diagonal_of(model.posterior(x))
        draws = generator(seed, "completion", "whole", first)
        own = wider(fit_full(unmasked, start, len(found.trace), 16, draws))
        scored[TWO_PROPOSALS] = difference(weighed(log_whole, own, "two q"), visible)
    # At the same z as the visible pixels, so that Σ w is the same sum in both.
    scored[IMPORTANCE] = difference(weighed(log_whole, proposal), visible)

    for name, q in found.by_name().items():

        def predictive(z: Tensor, q: Posterior = q) -> Tensor:
            return log_hidden(z) + q.log_prob(z)

        drawn = weighed(predictive, q)
        draws = generator(seed, "completion", "kl", first)
        elbo = elbo_with_error(log_visible, q, of_images=log_visible_of, generator=draws)
        scored[name] = Score(
            drawn.bounds[samples],
            standard_error(drawn, samples),
            drawn.pareto_k,
            log_p_visible - elbo.value,
            visible_error + elbo.error,
            doubtful(drawn.pareto_k),
            no,
        )
    return scored


def standard_error(drawn: Importance, samples: int) -> Tensor:
    """Of log (1/S) Σ w, by the delta method: √(1/ESS − 1/S), [B] in nats.

    It is below 1 however far a few large weights are from the mean, so it is infinite if they are
    said to be few by k̂.
    """
    error = (1 / drawn.effective_samples - 1 / samples).clamp(min=0).sqrt()
    return error.masked_fill(doubtful(drawn.pareto_k), math.inf)


def wider(q: FullGaussian) -> FullGaussian:
    """A proposal for a target like q: its tails must not be thinner, or a few weights are all.

    Standard deviations grow by 0.7 / √Z, which costs a factor of about e in effective samples for
    a Gaussian target, whatever Z.
    """
    growth = math.log1p(0.7 / math.sqrt(q.mean.shape[-1]))
    return FullGaussian(q.mean, q.log_std + growth, q.lower)


@torch.no_grad()
def posterior_points(
    masked: Masked, q: FullGaussian, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """z [G, Z] and weights [G], summing to one, that stand for p(z | visible) of a single image.

    A grid over all its mass if latent_dim <= 2, else importance sampling from q.
    """
    if has_grid(masked.model):
        table = vae_table(masked.model, masked.visible, masked.pixels)
        grid = posterior_grid(table, masked.exact, 0)
        z, weights = grid.points.to(masked.x), grid.weights
    else:
        proposal = wider(q)
        draws = proposal.sample(torch.randn(POINTS, *q.mean.shape, generator=generator))
        log_weights = masked.log_joint(draws) - proposal.log_prob(draws)
        z, weights = draws[:, 0], log_weights[:, 0].double().softmax(0)
    matters = weights > NEGLIGIBLE * weights.max()
    return z[matters], weights[matters] / weights[matters].sum()


def resample(z: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of the points z [G, Z], each drawn with probability ``weights`` [G]."""
    u = torch.rand(count, generator=generator, dtype=weights.dtype).to(weights.device)
    return z[torch.searchsorted(weights.cumsum(0), u).clamp(max=len(z) - 1)]


@torch.no_grad()
def mean_completion(masked: Masked, z: Tensor, weights: Tensor) -> Tensor:
    """The visible pixels of a single image joined to E[hidden | visible]: [D].

    ``z`` [G, Z] and ``weights`` [G] stand for p(z | visible).
    """
    parts = zip(z.split(POINTS), weights.split(POINTS), strict=True)
    means = [w.to(z) @ masked.complete(part[:, None])[:, 0] for part, w in parts]
    return torch.stack(means).sum(0)
