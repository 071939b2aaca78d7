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

QUANTILES = {"quantile_05": 0.05, "median": 0.5, "quantile_95": 0.95}


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error, in nats per image.

    With ``of_images`` it is that of so many images, told from ``images`` of them by a regression.
    """

    mean: float
    stderr: float
    images: int
    estimator: str
    samples: int | None = None
    seed: int | None = None
    of_images: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def error(self) -> str:
        """The standard error in words; of one image there is none."""
        return "" if math.isnan(self.stderr) else f"{self.stderr:.2f}"

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.error}".removesuffix(" ± ")


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


def share_of_worst(gap: Tensor, percent: float) -> float:
    """Which share of the sum of a gap [N] its largest ``percent`` of images carry, at least one."""
    ordered = gap.double().sort(descending=True).values
    worst = max(1, round(len(gap) * percent / 100))
    return (ordered[:worst].sum() / ordered.sum()).item()


def quantiles(values: Tensor) -> dict[str, float | None]:
    """Median and the 5 and 95 % quantiles; None if one is infinite, as JSON has no such number.

    The nearest values are taken, so that an infinite one next to a finite one does no harm.
    """
    levels = torch.tensor(list(QUANTILES.values())).to(values)
    found = values.quantile(levels, interpolation="nearest").tolist()
    return dict(zip(QUANTILES, map(finite, found), strict=True))


def intervals(values: Tensor) -> dict[str, list[float | None]]:
    """A 95 % confidence interval of each of ``quantiles``, by the binomial law of ranks.

    An end is None if it is infinite or if there are too few images to know it.
    """
    from scipy.stats import binom  # half a second to import, and most commands need none of it

    ordered, found = values.sort().values.tolist(), {}
    for name, level in QUANTILES.items():
        low, high = (int(rank) for rank in binom.interval(0.95, len(ordered), level))
        ends = [ordered[low - 1] if low else None, *ordered[high : high + 1], None][:2]
        found[name] = [None if end is None else finite(end) for end in ends]
    return found


def finite(value: float) -> float | None:
    """A number that JSON has."""
    return value if math.isfinite(value) else None
