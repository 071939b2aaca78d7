"""What does each place of the latent plane decode to? The means over a grid of prior quantiles."""

import torch
from torch import Tensor

from vae_exp import figures, memory
from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.data.splits import About
from vae_exp.errors import check_positive
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Distribution
from vae_exp.probability.gaussians import StandardGaussian
from vae_exp.probability.streams import generator

SAMPLES = 100_000  # of a prior whose quantiles have no closed form
BLOCK = 10_000  # of them at a time


def prior_quantiles(prior: Distribution, size: int, device: torch.device | str = "cpu") -> Tensor:
    """The (i + ½) / size quantiles of each coordinate of z ~ p(z), i = 0 .. size − 1: [Z, size].

    Those of N(0, I) are Φ⁻¹; those of another prior come from samples of it.
    """
    shares = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    if isinstance(prior, StandardGaussian):
        quantiles: Tensor = torch.special.ndtri(shares)
        return quantiles.expand(prior.dims, -1)
    noise = prior.noise.draw(SAMPLES, generator=generator(0, "quantiles"), device=device)
    z = torch.cat([prior.sample(part) for part in noise.split(BLOCK)])
    return torch.quantile(z.double(), shares.to(z.device), dim=0).T


class Manifold:
    """The means of p(x | z) over `size` × `size` quantiles of the prior.

    Raises UserError if `size` is not a positive integer.
    """

    name = "manifold"
    needs_images = False

    def __init__(self, *, size: int = 20) -> None:
        check_positive("size", size)
        figures.check_fits("size", size, figures.TILE)
        self.size = size

    def unsuited(self, model: VAE, splits: Splits | About) -> str | None:
        """Only a plane can be laid out on paper; raises UserError if memory cannot hold it."""
        # Logits and means, and the sheet in double precision beside what it was made from.
        memory.require(self.size**2 * model.pixels * (2 * 4 + 3 * 8), {"size": self.size})
        if model.latent_dim == 2:
            return None
        return f"a grid over the plane needs latent_dim 2, the model has {model.latent_dim}"

    @torch.no_grad()
    def __call__(self, model: VAE, splits: Splits | About, seed: int) -> Findings:
        """One figure; nothing is random."""
        first, second = prior_quantiles(model.prior, self.size, model.device).cpu()
        z = torch.cartesian_prod(second, first).flip(1).float()  # [G, Z], z_1 fastest
        means = model.likelihood(z.to(model.device)).mean.cpu()
        fig = figures.image_mosaic(
            model.pictures(means).unflatten(0, (self.size, self.size)),
            first,
            second,
            title=f"Means of p(x | z) over {self.size} × {self.size} quantiles of the prior",
            caption=(
                splits.caption,
                splits.trained_on,
                f"latent dimension {model.latent_dim}",
            ),
        )
        return Findings(figures={self.name: fig})
