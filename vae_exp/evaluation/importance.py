"""Importance-weighted bounds on log p(x) with the encoder's q as the proposal."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_exp.errors import check_positive
from vae_exp.inference.importance import DRAW, ROWS, Importance, weigh
from vae_exp.inference.progress import Progress
from vae_exp.models.vae import VAE


def iwae(
    model: VAE,
    images: Tensor,
    samples: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Importance-weighted bound on log p(x) of every image from exactly ``samples`` decodes of it.

    log (1/k) Σ_s p(x, z_s) / q(z_s | x), z_s ~ q(z | x)  (Burda et al. 2016, arXiv:1509.00519)

    images [N, D] -> [N] in nats, float64.
    """
    return importance(model, images, (samples,), seed=seed, progress=progress).bounds[samples]


def iwae_ladder(
    model: VAE,
    images: Tensor,
    samples: Sequence[int] = (1, 10, 100, 1000),
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[int, Tensor]:
    """The bounds with several numbers of samples at the price of the largest, as ``iwae`` each.

    The bound with k samples is that of the first k of one stream, so the bounds of one image
    depend on each other. images [N, D] -> samples -> [N] in nats, float64.
    """
    return importance(model, images, samples, seed=seed, progress=progress).bounds


@torch.no_grad()
def importance(
    model: VAE,
    images: Tensor,
    samples: Sequence[int] = (1, 10, 100, 1000),
    *,
    seed: int = 0,
    rows: int = ROWS,
    progress: Progress | None = None,
) -> Importance:
    """The encoder's q(z | x) as a proposal for every image.

    images [N, D] -> bounds, effective samples and k̂, [N] each. The noise of an image depends on
    its place and on ``seed`` alone. ``progress`` is told the fraction that is done. Raises
    UserError if a number of samples is not a positive integer.
    """
    for k in samples:
        check_positive("samples", k)
    parts = []
    size = max(1, rows // min(DRAW, max(samples)))
    for first in range(0, len(images), size):
        x = images[first : first + size].to(model.device)
        parts.append(
            weigh(
                model.log_joint_of_each(x),
                model.posterior(x),
                samples,
                seed=seed,
                first=first,
                rows=rows,
            )
        )
        if progress is not None:
            progress(min(1.0, (first + size) / len(images)))
    return Importance(
        {k: torch.cat([part.bounds[k] for part in parts]) for k in sorted(set(samples))},
        torch.cat([part.effective_samples for part in parts]),
        torch.cat([part.pareto_k for part in parts]),
    )
