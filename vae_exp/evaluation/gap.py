"""The inference gap of an encoder, per image, and which part of it each restriction costs.

log p(x) − ELBO(encoder) = [log p(x) − ELBO(best q of the encoder's family)] + amortisation,

and what a family costs is told by wider ones: the best diagonal Gaussian, the best with any
covariance, the best flow about that, and log p(x). Cremer et al. 2018, arXiv:1801.03558.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae_exp.evaluation.frozen import frozen
from vae_exp.inference import svi
from vae_exp.inference.progress import Progress
from vae_exp.inference.quadrature import AT_ONCE, elbo_with_error, has_rule
from vae_exp.inference.rounds import Best, best_of, refine
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior, combined
from vae_exp.probability.flows import RealNVP
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.streams import generator

PARTS = ("not Gaussian", "no covariance", "amortisation")  # of an encoder of diagonal Gaussians
OUTSIDE = "outside the family"  # of an encoder of q that are no Gaussians
BLOCK = 100  # images fitted at a time
FEWEST_STEPS = 30  # that tell whether more would help
ELBO_TOLERANCE = 0.002  # nats, by Gauss-Hermite; any rule tells which of several starts is best
CANDIDATES = 512  # draws from the prior, of which the most likely are starts
MONTE_CARLO = 2048  # samples for an ELBO if no Gauss-Hermite rule applies; the same for every q
SCREENING_SAMPLES = 256


@dataclass(frozen=True)
class Gap:
    """The encoder's q and the best q of some families, with their ELBOs, per image [B], in nats.

    ``best`` holds "diagonal", "full", "own" if the encoder's family is neither of them, and "flow"
    if it was asked for. ``error`` is how far an ELBO of an image may be off; one standard error if
    no Gauss-Hermite rule serves.
    """

    encoder: Posterior
    elbo_encoder: Tensor
    best: dict[str, Best[Any]]
    error: Tensor

    @property
    def own(self) -> Best[Any]:
        """The best q of the encoder's family."""
        if isinstance(self.encoder, DiagonalGaussian):
            return self.best["diagonal"]
        return self.best["full" if isinstance(self.encoder, FullGaussian) else "own"]

    @property
    def diagonal(self) -> DiagonalGaussian:
        """The best diagonal Gaussians."""
        q: DiagonalGaussian = self.best["diagonal"].q
        return q

    @property
    def full(self) -> FullGaussian:
        """The best Gaussians with any covariance."""
        q: FullGaussian = self.best["full"].q
        return q

    @property
    def elbo_diagonal(self) -> Tensor:
        """Of ``diagonal``."""
        return self.best["diagonal"].elbo

    @property
    def elbo_full(self) -> Tensor:
        """Of ``full``."""
        return self.best["full"].elbo

    def parts(self, log_p_x: Tensor) -> dict[str, Tensor]:
        """What log p(x) − ELBO(encoder) of the first images is made of: [len(log_p_x)] each.

        Those of PARTS for diagonal Gaussians. Other families have no covariance to do without,
        and for those that are no Gaussians OUTSIDE is all but the amortisation.
        """
        count = len(log_p_x)
        own = self.own.elbo[:count]
        parts = {"amortisation": own - self.elbo_encoder[:count]}
        if isinstance(self.encoder, DiagonalGaussian):
            parts["no covariance"] = (self.elbo_full - self.elbo_diagonal)[:count]
        if isinstance(self.encoder, DiagonalGaussian | FullGaussian):
            parts["not Gaussian"] = log_p_x - self.elbo_full[:count]
        else:
            parts[OUTSIDE] = log_p_x - own
        return dict(reversed(parts.items()))


def inference_gap(
    model: VAE,
    x: Tensor,
    *,
    flow: bool = False,
    starts: int = 6,
    steps: int = 120,
    samples: int = 8,
    rounds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Gap:
    """Fit the best q of several families to every posterior p(z | x) by SVI.

    x [B, D]. A diagonal q starts from the encoder's and from ``starts`` promising z; a full one
    from the best diagonal q, a flow from the best full one. After ``steps`` steps each is fitted
    on in at most ``rounds`` rounds, the first of a quarter of them, till a round does not help;
    ``Best.moved`` tells what the last one did. A fit never ends below where it started.
    """
    gaps = []
    with frozen(model):
        for first in range(0, len(x), BLOCK):
            some = x[first : first + BLOCK]
            fits = _Fits(model, some, starts, steps, samples, rounds, seed, first)
            gaps.append(fits.gap(flow and model.latent_dim > 1))
            if progress is not None:
                progress(min(1.0, (first + BLOCK) / len(x)))
    return Gap(
        combined(torch.cat, [gap.encoder for gap in gaps]),
        torch.cat([gap.elbo_encoder for gap in gaps]),
        {name: Best.joined([gap.best[name] for gap in gaps]) for name in gaps[0].best},
        torch.cat([gap.error for gap in gaps]),
    )


class _Fits:
    """The fits of one block of images x [B, D], which are a target of ``refine``."""

    def __init__(
        self,
        model: VAE,
        x: Tensor,
        starts: int,
        steps: int,
        samples: int,
        rounds: int,
        seed: int,
        first: int,
    ):
        self.model = model
        self.x = x
        self.starts = starts
        self.steps = steps
        self.samples = samples
        self.rounds = rounds
        self.draws = generator(seed, "gap", first)
        self.key = (seed, "gap", "elbo", first)
        self.rows = torch.arange(len(x), device=x.device)
        self.error = torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def gap(self, flow: bool) -> Gap:
        """The encoder's q beside the best ones."""
        encoder = self.model.posterior(self.x)
        elbo_encoder = self.elbo(encoder, self.rows)
        diagonal = self._diagonal(encoder, elbo_encoder)
        full = self._full(diagonal)
        best: dict[str, Best[Any]] = {"diagonal": diagonal, "full": full}
        if isinstance(encoder, FullGaussian):
            candidates = best_of(self, [full.q, encoder], [full.elbo, elbo_encoder])
            best["full"] = self._refined(candidates)
        elif not isinstance(encoder, DiagonalGaussian):
            best["own"] = self._own(encoder, elbo_encoder, diagonal.q)
        if flow:
            start = RealNVP.about(best["full"].q)
            fits = best_of(self, [start, self._fit(start, 0.03)], [best["full"].elbo, None])
            best["flow"] = self._refined(fits)
        return Gap(encoder, elbo_encoder, best, self.error)

    def log_joint(self, rows: Tensor) -> svi.LogJoint:
        """log p(x, z) of some of the images."""
        x = self.x if len(rows) == len(self.x) else self.x[rows]
        return lambda z: self.model.joint_log_density(x, z)

    def elbo(
        self,
        q: Posterior,
        rows: Tensor,
        tolerance: float = ELBO_TOLERANCE,
        samples: int = MONTE_CARLO,
    ) -> Tensor:
        """By Gauss-Hermite if it serves; else by sampling, with the same noise for every q."""
        log_joint = self.log_joint(rows)
        if has_rule(q):
            found = elbo_with_error(
                log_joint,
                q,
                tolerance=tolerance,
                of_images=lambda some: self.log_joint(rows[some]),
            )
            if math.isfinite(tolerance):
                self._note(rows, found.error)
            return found.value
        draws, like, sums = generator(*self.key), q.like, []
        with torch.no_grad():
            for _ in range(0, samples, AT_ONCE):
                half = q.noise.draw(
                    AT_ONCE // 2,
                    len(self.x),
                    generator=draws,
                    device=like.device,
                    dtype=like.dtype,
                )[:, rows]
                z = q.sample(torch.cat([half, -half]))
                sums.append((log_joint(z) - q.log_prob(z)).double().mean(0))
        means = torch.stack(sums)
        if samples == MONTE_CARLO:
            self._note(rows, means.std(0) / len(means) ** 0.5)
        return means.mean(0)

    def _note(self, rows: Tensor, error: Tensor) -> None:
        self.error[rows] = torch.maximum(self.error[rows], error)

    def _diagonal(self, encoder: Posterior, elbo_encoder: Tensor) -> Best[DiagonalGaussian]:
        near_encoder, like, prior = svi.diagonal_of(encoder), encoder.like, self.model.prior
        candidates = prior.sample(
            prior.noise.draw(CANDIDATES, generator=self.draws, device=like.device, dtype=like.dtype)
        )
        log_joint = self.log_joint(self.rows)
        starting = svi.promising_starts(log_joint, candidates, len(self.x), starts=self.starts)
        # A few cheap steps tell which start deserves the rest.
        tried = svi.fit(
            log_joint,
            combined(torch.cat, [near_encoder.at(None), starting]),
            samples=4,
            steps=self.steps // 4,
            generator=self.draws,
        ).q
        reached = [
            self.elbo(tried.at(i), self.rows, math.inf, SCREENING_SAMPLES)
            for i in range(self.starts + 1)
        ]
        begun = svi.best_of_starts(tried, torch.stack(reached))
        fitted = self._fit(begun, 0.03)
        known = elbo_encoder if near_encoder is encoder else None
        best = best_of(self, [near_encoder, begun, fitted], [known, None, None])
        return self._refined(best)

    def _full(self, diagonal: Best[DiagonalGaussian]) -> Best[FullGaussian]:
        tilted = FullGaussian.from_diagonal(diagonal.q)
        best = best_of(self, [tilted, self._fit(tilted, 0.05)], [diagonal.elbo, None])
        return self._refined(best)

    def _own(
        self, encoder: Posterior, elbo_encoder: Tensor, diagonal: DiagonalGaussian
    ) -> Best[Any]:
        """The best q of a family of which nothing is known but what it can start from."""
        starts: list[Any] = [encoder]
        if (near := encoder.near(diagonal)) is not None:
            starts.append(near)
        fitted = self._fit(combined(torch.stack, starts), 0.03)
        candidates = [*starts, *(fitted.at(i) for i in range(len(starts)))]
        known: list[Tensor | None] = [elbo_encoder, *[None] * (len(candidates) - 1)]
        return self._refined(best_of(self, candidates, known))

    def _fit(self, start: Any, lr: float) -> Any:
        log_joint = self.log_joint(self.rows)
        settings: dict[str, Any] = {"samples": self.samples, "generator": self.draws}
        return svi.fit(log_joint, start, steps=self.steps, lr=lr, **settings).q

    def _refined(self, start: Best[Any]) -> Best[Any]:
        return refine(
            self,
            start,
            rounds=self.rounds,
            steps=max(FEWEST_STEPS, self.steps // 4),
            samples=self.samples,
            lr=0.03,
            generator=self.draws,
        )
