"""What lies between two images? The decoder along the line between their latent means."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import torch
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.analysis.choosing import NAMES, labels_of, recognisable
from vae_exp.data import Split, Splits
from vae_exp.data.splits import SplitName
from vae_exp.errors import UserError, check_positive
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator
from vae_exp.ranges import NonNegative

PAIRS = 3


def interpolate(za: Tensor, zb: Tensor, alpha: float | Tensor) -> Tensor:
    """alpha · za + (1 − alpha) · zb: za at alpha = 1, zb at 0. [.., Z] each, broadcast."""
    return alpha * za + (1 - alpha) * zb


class Interpolation:
    """Pairs of images, and the means of p(x | z) on the way between them.

    z runs from the encoder's mean of the one to that of the other in `points` equal steps, both
    ends included. The images are typical ones of two classes, which their decoded means can be
    taken for, or of none if they have no labels; `digits` names these classes, two a row and over
    again; `indices` the images, two a row. They are of `split`, test images if none is given.
    Raises UserError if `pairs` is not positive, `points` is below 2, or `digits` or `indices` do
    not come in twos.
    """

    name = "interpolation"

    def __init__(
        self,
        *,
        pairs: int | None = None,
        points: int = 10,
        digits: Sequence[NonNegative] = (),
        indices: Sequence[NonNegative] = (),
        split: SplitName | None = None,
    ) -> None:
        check_positive("pairs", PAIRS if pairs is None else pairs)
        check_positive("points", points)
        if points < 2:
            raise UserError(f"points must be at least 2, the two ends, got {points}")
        for key, values in (("digits", digits), ("indices", indices)):
            if len(values) % 2:
                raise UserError(f"{key} must be two a row, such as {key}=[3,8], got {list(values)}")
        if indices and (digits or pairs is not None):
            other = "digits" if digits else "task.pairs"
            raise UserError(f"indices say which images make the rows: give no {other} beside them")
        if pairs is not None:
            figures.check_fits("pairs", pairs, figures.CELL)
        figures.check_fits("points", points, figures.CELL)
        self.pairs = pairs
        self.points = points
        self.digits = tuple(digits)
        self.indices = tuple(indices)
        self.split = split

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """Only of images that are there, and of two classes if none is named."""
        split = splits.named(self.split or "test")
        kind, present = NAMES[split.name], split.classes
        if self.indices:
            if max(self.indices) >= len(split):
                return f"indices must be from 0 to {len(split) - 1}, got {max(self.indices)}"
            return None
        if split.labels is None:
            if self.digits:
                return f"digits={list(self.digits)} name classes, and the images have no labels"
            return None if len(split) > 1 else f"it needs two {kind} images, there is 1"
        for digit in self.digits:
            if digit not in present:
                return f"digit {digit} is not among the {len(split)} {kind} images"
        if len(present) < 2 and not self.digits:
            return f"it needs {kind} images of two classes, got {len(split)} of class {present[0]}"
        return None

    @torch.no_grad()
    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure with a row a pair, and the pairs chosen; the stream is (`seed`, name)."""
        split = splits.named(self.split or "test")
        pairs = self.choose(model, splits, split, generator(seed, self.name))  # [P, 2]
        ends = split.images[pairs]  # [P, 2, D]
        alphas = torch.linspace(1, 0, self.points)
        means = model.posterior(ends.to(model.device)).mean  # [P, 2, Z]
        z = interpolate(
            means[:, :1], means[:, 1:], alphas.to(means.device)[:, None]
        )  # [P, points, Z]
        between = model.likelihood(z).mean.cpu()  # [P, points, D]
        classes = None if split.labels is None else split.labels[pairs].tolist()
        named = "".join(f", {a} to {b}" for a, b in pairs.tolist())[1:]
        fig = figures.image_grid(
            model.pictures(torch.cat([ends[:, :1], between, ends[:, 1:]], 1)),
            row_labels=self.row_labels(splits, classes),
            column_labels=["image $a$", *(f"{alpha:.2f}" for alpha in alphas), "image $b$"],
            title="Means of p(x | z) at z = α $z_a$ + (1 − α) $z_b$, with α above each column",
            breaks=(1, self.points + 1),
            caption=(
                splits.caption,
                f"{NAMES[split.name]} images{named if len(pairs) <= PAIRS else ''}, of "
                f"{len(split):,} ({split.origin})",
                ""
                if self.indices
                else "typical of their classes, as their decoded means are"
                if classes
                else "typical images without labels, as their decoded means are",
                "$z_a$, $z_b$: means of q(z | x)",
                f"latent dimension {model.latent_dim}",
                f"seed {seed}",
            ),
        )
        chosen: list[dict[str, list[int]]] = [{"images": images} for images in pairs.tolist()]
        for pair, of in zip(chosen, classes or (), strict=False):
            pair["classes"] = of
        return Findings({self.name: fig}, {"split": split.name, "pairs": chosen})

    def row_labels(self, splits: Splits, classes: list[list[int]] | None) -> list[str]:
        """What the two images of each row show; nothing if they have no labels."""
        name = splits.source.class_name
        return [figures.plain(f"{name(a)} to {name(b)}") for a, b in classes or ()]

    def choose(self, model: VAE, splits: Splits, split: Split, draws: torch.Generator) -> Tensor:
        """Indices [P, 2] of images: those named, or of the classes named, or of any two a row."""
        if self.indices:
            return torch.tensor(self.indices).reshape(-1, 2)
        order = self.digits or shuffled_classes(split, draws)
        labels = list(islice(cycle(order), 2 * (self.pairs or PAIRS)))
        pools: dict[int, Iterator[int]] = {
            label: cycle(own[torch.randperm(len(own), generator=draws)].tolist())
            for label, own in recognisable(model, splits, split, sorted(set(labels))).items()
        }
        return torch.tensor([next(pools[label]) for label in labels]).reshape(-1, 2)


def shuffled_classes(split: Split, draws: torch.Generator) -> list[int]:
    """The classes of a split in random order, an even number of them, so that none meets itself."""
    present = labels_of(split).unique()
    order: list[int] = present[torch.randperm(len(present), generator=draws)].tolist()
    return order * 2 if len(order) % 2 else order
