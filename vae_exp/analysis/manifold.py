"""What does each place of the latent plane decode to? The means over a grid of prior quantiles."""

import torch
from torch import Tensor

from vae_exp import figures, memory
from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.data.splits import About
from vae_exp.errors import check_positive
from vae_exp.models.vae import VAE


def prior_quantiles(size: int) -> Tensor:
    """Φ⁻¹((i + ½) / size) for i = 0 .. size − 1: equal shares of N(0, 1), by their middles."""
    shares = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    quantiles: Tensor = torch.special.ndtri(shares)
    return quantiles


class Manifold:
    """The Bernoulli means of the decoder over `size` × `size` quantiles of the prior.

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
        quantiles = prior_quantiles(self.size)
        z = torch.cartesian_prod(quantiles, quantiles).flip(1).float()  # [G, Z], z_1 fastest
        means = model.likelihood(z.to(model.device)).mean.cpu()
        fig = figures.image_mosaic(
            model.pictures(means).unflatten(0, (self.size, self.size)),
            quantiles,
            quantiles,
            title=f"Means of p(x | z) over {self.size} × {self.size} quantiles of the prior",
            caption=(
                splits.caption,
                splits.trained_on,
                f"latent dimension {model.latent_dim}",
            ),
        )
        return Findings(figures={self.name: fig})
