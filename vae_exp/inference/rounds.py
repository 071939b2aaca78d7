"""Fits that go on until more steps do not help, and tell by how much the last ones did."""

from dataclasses import dataclass
from typing import Generic, Protocol

import torch
from torch import Tensor

from vae_exp.inference import svi
from vae_exp.probability.distributions import Posterior, Q, combined

SMALLER = 0.4  # times the step size, after a round that was too noisy
TOLERANCE = 0.01  # nats an image: what a round may still gain if a fit counts as converged


class Target(Protocol):
    """The log joints of B images, of which some can be asked for alone."""

    def log_joint(self, rows: Tensor) -> svi.LogJoint:
        """log p(x_b, z) of the images ``rows`` [b]: z [S, .., b, Z] -> [S, .., b] in nats."""
        ...

    def elbo(self, q: Posterior, rows: Tensor) -> Tensor:
        """The ELBO of a q over the images ``rows``, the same number each time: [b], float64."""
        ...


@dataclass(frozen=True)
class Best(Generic[Q]):
    """The best q found for each image, its ELBO, and by how much the last round moved that.

    ``elbo`` and ``moved`` are [B] in nats; ``moved`` is infinite for an image without a round.
    """

    q: Q
    elbo: Tensor
    moved: Tensor

    @property
    def converged(self) -> Tensor:
        """Whether the last round moved an image's ELBO by less than TOLERANCE: [B]."""
        return self.moved < TOLERANCE

    @classmethod
    def joined(cls, parts: "list[Best[Q]]") -> "Best[Q]":
        """Those of several blocks of images as one."""
        return cls(
            combined(torch.cat, [part.q for part in parts]),
            torch.cat([part.elbo for part in parts]),
            torch.cat([part.moved for part in parts]),
        )


def best_of(target: Target, candidates: list[Q], known: list[Tensor | None]) -> Best[Q]:
    """For each image the candidate with the highest ELBO, as ``known`` or as asked for."""
    rows = torch.arange(len(candidates[0].like), device=candidates[0].like.device)
    elbo = torch.stack(
        [
            target.elbo(q, rows) if value is None else value
            for q, value in zip(candidates, known, strict=True)
        ]
    )
    q = svi.best_of_starts(combined(torch.stack, candidates), elbo)
    best = elbo.amax(0)
    return Best(q, best, torch.full_like(best, torch.inf))


def refine(
    target: Target,
    start: Best[Q],
    *,
    rounds: int,
    steps: int,
    samples: int,
    lr: float,
    generator: torch.Generator,
) -> Best[Q]:
    """Fit on in at most ``rounds`` rounds, each with twice the steps of the one before.

    A round is for the images whose last one moved their ELBO, up or down, by TOLERANCE or more. The
    better of its two ends is kept, so no ELBO ends below where it started. A round that ends below
    its start on average tells of steps that are too noisy: those of the next are smaller.
    """
    q, elbo, moved = start.q, start.elbo.clone(), start.moved.clone()
    pending = torch.arange(len(elbo), device=elbo.device)
    for count in (steps * 2**round_ for round_ in range(rounds)):
        if not len(pending):
            break
        again = svi.fit(
            target.log_joint(pending),
            q.at(pending),
            samples=samples,
            steps=count,
            lr=lr,
            generator=generator,
        ).q
        gained = target.elbo(again, pending) - elbo[pending]
        better = gained > 0
        q = _replaced(q, pending[better], again.at(better))
        elbo[pending] += gained.clamp(min=0)
        moved[pending] = gained.abs()
        lr *= SMALLER if gained.mean() < 0 else 1
        pending = pending[gained.abs() >= TOLERANCE]
    return Best(q, elbo, moved)


def _replaced(q: Q, rows: Tensor, other: Q) -> Q:
    pairs = zip(q.variational_parameters(), other.variational_parameters(), strict=True)
    return q.with_parameters([mine.index_copy(0, rows, theirs) for mine, theirs in pairs])
