"""What does the model generate? Images from z of the prior."""

import torch

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.data.splits import About
from vae_exp.errors import check_positive
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator


class Samples:
    """Columns z ~ p(z): the means above, x ~ p(x | z) below.

    Raises UserError if `columns` is not a positive integer.
    """

    name = "samples"
    needs_images = False

    def __init__(self, *, columns: int = 10) -> None:
        check_positive("columns", columns)
        figures.check_fits("columns", columns, figures.CELL)
        self.columns = columns

    def unsuited(self, model: VAE, splits: Splits | About) -> str | None:
        """None: every model can be sampled."""
        return None

    @torch.no_grad()
    def __call__(self, model: VAE, splits: Splits | About, seed: int) -> Findings:
        """One figure of 2 rows; the stream is (`seed`, "samples")."""
        draws = generator(seed, self.name)
        prior = model.prior
        z = prior.sample(prior.noise.draw(self.columns, generator=draws, device=model.device))
        p_x = model.likelihood(z)
        noise = p_x.noise.draw(self.columns, generator=draws, device=model.device)
        rows = torch.stack([p_x.mean, p_x.sample(noise)]).cpu()  # [2, C, D]
        fig = figures.image_grid(
            model.pictures(rows),
            row_labels=("means of p(x | z)", "x ~ p(x | z)"),
            title=f"Samples from the model: each column its own z ~ {prior.symbol}",
            caption=(
                splits.caption,
                splits.trained_on,
                f"latent dimension {model.latent_dim}",
                f"seed {seed}",
            ),
        )
        return Findings(figures={self.name: fig})
