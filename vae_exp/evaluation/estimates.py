"""A model and data in, numbers with standard errors out."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vae_exp import memory
from vae_exp.data import batch_x
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.streams import generator


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error, in nats per image."""

    mean: float
    stderr: float
    images: int
    estimator: str
    samples: int | None = None
    seed: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.stderr:.2f}"


def estimate(
    values: Tensor, estimator: str, *, samples: int | None = None, seed: int | None = None
) -> Estimate:
    """The mean of values [N] and its standard error over images, s / √N."""
    spread = values.double().std().item() if len(values) > 1 else math.nan
    return Estimate(
        values.double().mean().item(),
        spread / math.sqrt(len(values)),
        len(values),
        estimator,
        samples,
        seed,
    )


def require_memory(model: VAE, images: int, samples: int, key: str = "samples") -> None:
    """Raise UserError if ``elbo_terms`` of so many images and samples takes too much."""
    noise = images * model.latent_dim * torch.get_default_dtype().itemsize
    sizes = {key: samples, "images": images, "latent_dim": model.latent_dim}
    memory.require(samples * (noise + memory.of_a_row(model.decoder)), sizes)


@torch.no_grad()
def elbo_terms(
    model: VAE, images: Tensor, *, samples: int = 1, seed: int = 0, batch_size: int = 1000
) -> Terms:
    """The ELBO of every image with its two terms, the KL in closed form.

    images [N, D] -> terms [N], estimated from ``samples`` z an image. The noise of an image
    depends on its place and on ``seed``, not on ``batch_size``: how many z are decoded at a time.
    """
    require_memory(model, len(images), samples)
    batch_size = max(1, batch_size // samples)
    noise = model.noise.draw(samples, len(images), generator=generator(seed, "elbo"))
    batches = [
        model.elbo_terms(x.to(model.device), epsilon.to(model.device))
        for x, epsilon in zip(
            batch_x(images, batch_size), torch.split(noise, batch_size, dim=1), strict=True
        )
    ]
    return Terms.joined(batches)
