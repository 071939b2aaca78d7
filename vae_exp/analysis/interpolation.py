"""What lies between two images? The decoder along the line between their latent means."""

import torch
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.data import Split, Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator


def interpolate(za: Tensor, zb: Tensor, alpha: float | Tensor) -> Tensor:
    """alpha · za + (1 − alpha) · zb: za at alpha = 1, zb at 0. [.., Z] each, broadcast."""
    return alpha * za + (1 - alpha) * zb


class Interpolation:
    """Pairs of test images of different classes, and the means of p(x | z) on the way between.

    z runs from the encoder's mean of the one to that of the other in `points` equal steps, both
    ends included. Raises UserError where `pairs` is not positive or `points` is below 2.
    """

    name = "interpolation"

    def __init__(self, *, pairs: int = 3, points: int = 10) -> None:
        check_positive("pairs", pairs)
        check_positive("points", points)
        if points < 2:
            raise UserError(f"points must be at least 2, the two ends, got {points}")
        self.pairs = pairs
        self.points = points

    def unsuited(self, model: VAE) -> str | None:
        """None: every latent space has lines."""
        return None

    @torch.no_grad()
    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure with a row a pair, and the pairs chosen; the stream is (`seed`, name).

        Raises UserError where the test images are all of one class.
        """
        pairs = choose_pairs(splits.test, self.pairs, generator(seed, self.name))  # [P, 2]
        ends = splits.test.images[pairs]  # [P, 2, D]
        alphas = torch.linspace(1, 0, self.points)
        means = model.posterior(ends.to(model.device)).mean  # [P, 2, Z]
        z = interpolate(
            means[:, :1], means[:, 1:], alphas.to(means.device)[:, None]
        )  # [P, points, Z]
        between = model.likelihood(z).mean.cpu()  # [P, points, D]
        classes = splits.test.labels[pairs].tolist()
        fig = figures.image_grid(
            torch.cat([ends[:, :1], between, ends[:, 1:]], 1),
            row_labels=[f"{a} to {b}" for a, b in classes],
            column_labels=["image $a$", *(f"{alpha:.2f}" for alpha in alphas), "image $b$"],
            title="Means of p(x | z) at z = α $z_a$ + (1 − α) $z_b$, with α above each column",
            breaks=(1, self.points + 1),
            caption=(
                splits.caption,
                f"pairs from test: {len(splits.test):,} images ({splits.test.origin})",
                "$z_a$, $z_b$: means of q(z | x)",
                f"latent dimension {model.latent_dim}",
                f"seed {seed}",
            ),
        )
        chosen = [
            {"images": images, "classes": pair}
            for images, pair in zip(pairs.tolist(), classes, strict=True)
        ]
        return Findings(figures={self.name: fig}, numbers={"pairs": chosen})


def choose_pairs(split: Split, pairs: int, draws: torch.Generator) -> Tensor:
    """Indices [P, 2] of images: two classes a pair, and new ones in each pair while they last.

    Raises UserError where the split holds one class only.
    """
    present = torch.tensor(sorted(set(split.labels.tolist())))
    if len(present) < 2:
        raise UserError(
            f"interpolation needs test images of two classes, got {len(split)} of class "
            f"{int(present[0])}: raise data.test_size"
        )
    order = present[torch.randperm(len(present), generator=draws)].repeat(2 * pairs)[: 2 * pairs]
    chosen = []
    for label in order:
        own = torch.nonzero(split.labels == label)[:, 0]
        chosen.append(own[torch.randint(len(own), (1,), generator=draws)])
    return torch.cat(chosen).reshape(pairs, 2)
