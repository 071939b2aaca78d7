"""What does each place of the latent plane decode to? The means over a grid of prior quantiles."""

import torch
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.errors import check_positive
from vae_exp.models.vae import VAE


def prior_quantiles(size: int) -> Tensor:
    """Φ⁻¹((i + ½) / size) for i = 0 .. size − 1: equal shares of N(0, 1), by their middles."""
    shares = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    quantiles: Tensor = torch.special.ndtri(shares)
    return quantiles


class Manifold:
    """The Bernoulli means of the decoder over `size` × `size` quantiles of the prior.

    Raises UserError where `size` is not a positive integer.
    """

    name = "manifold"

    def __init__(self, *, size: int = 20) -> None:
        check_positive("size", size)
        self.size = size

    def unsuited(self, model: VAE) -> str | None:
        """Only a plane can be laid out on paper."""
        if model.latent_dim == 2:
            return None
        return f"a grid over the plane needs latent_dim 2, the model has {model.latent_dim}"

    @torch.no_grad()
    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure; nothing is random."""
        quantiles = prior_quantiles(self.size)
        z = torch.cartesian_prod(quantiles, quantiles).flip(1).float()  # [G, Z], z_1 fastest
        means = model.likelihood(z.to(model.device)).mean.cpu()
        fig = figures.image_mosaic(
            means.reshape(self.size, self.size, -1),
            quantiles,
            quantiles,
            title=f"Means of p(x | z) over {self.size} × {self.size} quantiles of the prior",
            caption=(
                splits.caption,
                f"trained on {len(splits.train):,} images ({splits.train.origin})",
                f"latent dimension {model.latent_dim}",
            ),
        )
        return Findings(figures={self.name: fig})
