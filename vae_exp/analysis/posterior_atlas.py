"""What do posteriors look like, and what does each q make of them?"""

from functools import partial
from typing import Any, TypeVar

import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis import contours
from vae_exp.analysis.bars import progress_bar
from vae_exp.analysis.base import Findings
from vae_exp.analysis.choosing import NAMES
from vae_exp.analysis.plane import Plane, Window, window
from vae_exp.data import Splits
from vae_exp.data.splits import SplitName
from vae_exp.errors import check_positive
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.gap import Gap, inference_gap
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior
from vae_exp.ranges import Positive

Q = TypeVar("Q", bound=Posterior)

STYLES = {
    "exact posterior": contours.TRUE,
    "encoder's q": contours.ENCODER,
    "best diagonal q": contours.DIAGONAL,
    "best full q": contours.FULL,
    "best q of its family": contours.OWN,
}
INSET = 0.24  # of a panel's width
PANEL = 3.75  # inches high


class PosteriorAtlas:
    """The exact posterior beside the encoder's q and the best Gaussians, image by image.

    Among the first ``candidates`` images of ``split`` (null: test images) ``each`` are taken of
    three kinds: typical (median amortisation gap), worst amortised, and least Gaussian (the widest
    gap that no Gaussian closes, or no q of the encoder's family if it is another, which is where
    posteriors have several modes).
    """

    name = "posterior_atlas"

    def __init__(
        self,
        *,
        candidates: Positive = 200,
        each: Positive = 2,
        split: SplitName | None = None,
    ) -> None:
        check_positive("task.candidates", candidates)
        check_positive("task.each", each)
        figures.check_fits("task.each", each, PANEL * figures.DPI)
        self.candidates = candidates
        self.each = each
        self.split = split

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """Only a plane can be drawn whole."""
        split = splits.named(self.split or "test")
        candidates = min(self.candidates, len(split))
        if candidates < self.each:
            kind = NAMES[split.name]
            return f"it needs {self.each} {kind} images of each kind, there are {candidates}"
        if model.latent_dim == 2:
            return None
        return f"a posterior over the plane needs latent_dim 2, the model has {model.latent_dim}"

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure with a panel an image, and the nats behind it."""
        split = splits.named(self.split or "test")
        x = split.images[: self.candidates]
        with progress_bar() as stage:
            exact = evidence(model, x, progress=stage("exact log p(x)"))
            gap = inference_gap(model, x, seed=seed, progress=stage("best q of each image"))
        parts = gap.parts(exact.log_p_x)
        chosen = self.choose(parts)
        rows = max(map(len, chosen.values()))
        fig = figures.figure(3.3 * len(chosen), PANEL * rows + 0.6)
        axes = fig.subplots(rows, len(chosen), squeeze=False)
        numbers: dict[str, Any] = {"split": split.name}
        for column, (kind, indices) in zip(axes.T, chosen.items(), strict=True):
            for ax, index in zip(column, indices, strict=True):
                draw_posterior(ax, model, x[index], gap, index)
                nats = {name: part[index].item() for name, part in parts.items()}
                ax.set_title(
                    f"{kind}: {NAMES[split.name]} image {index}\n"
                    f"gap {sum(nats.values()):.2f} nats: {in_two_lines(nats)}",
                    fontsize=8,
                )
                error = exact.error[index].item()
                numbers.setdefault(kind, []).append({"index": index, **nats, "error": error})
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8)
        figures.caption(
            fig,
            splits.caption,
            f"{rows} each of the first {len(x)} {NAMES[split.name]} images ({split.origin})",
            "contours and bands hold 50, 80 and 95 % of the mass",
            f"log p(x) is exact to {exact.error.max():.0e} nats, ELBOs to {gap.error.max():.1g}",
        )
        return Findings({self.name: fig}, numbers)

    def choose(self, parts: dict[str, Tensor]) -> dict[str, list[int]]:
        """The images to draw, by kind."""
        amortisation, shape = parts["amortisation"], next(iter(parts.values()))
        ranked = amortisation.argsort()
        middle = (len(ranked) - self.each) // 2
        return {
            "typical": ranked[middle : middle + self.each].tolist(),
            "worst amortised": ranked.flip(0)[: self.each].tolist(),
            "least Gaussian": shape.argsort(descending=True)[: self.each].tolist(),
        }


def in_two_lines(nats: dict[str, float]) -> str:
    """The parts of a gap, the amortisation first."""
    first, *others = [f"{name} {part:.2f}" for name, part in reversed(nats.items())]
    return f"{first},\n{', '.join(others)}"


def draw_posterior(ax: Axes, model: VAE, image: Tensor, gap: Gap, index: int) -> None:
    """One image's exact posterior and the three q, at the same probability masses."""

    def log_q(q: Posterior, z: Tensor) -> Tensor:
        return q.log_prob(z[:, None])[:, 0]

    one = slice(index, index + 1)
    fitted: dict[str, Posterior] = {
        "encoder's q": take(gap.encoder, one),
        "best diagonal q": take(gap.diagonal, one),
        "best full q": take(gap.full, one),
    }
    densities = {"exact posterior": partial(model.joint_log_density, image)}
    densities |= {name: partial(log_q, q) for name, q in fitted.items()}
    if "own" in gap.best:
        densities["best q of its family"] = partial(log_q, take(gap.own.q, one))
    found = window(Plane(torch.zeros(2), torch.eye(2)), densities, model.prior_family.reach())
    held = contours.draw_contours(ax, found, STYLES)
    figures.image_rows(
        ax.inset_axes((*free_corner(ax, found, held), INSET, INSET)),
        model.pictures(image)[None, None],
    )


def free_corner(ax: Axes, found: Window, held: Tensor) -> tuple[float, float]:
    """A corner where an inset covers nothing that is ``held`` [H, W]; axes grow until one is."""
    near, far = 0.02, 0.98 - INSET
    while True:
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        x, y = (found.xs - left) / (right - left), (found.ys - low) / (high - low)
        for corner in ((far, far), (near, far), (near, near), (far, near)):
            across = (x > corner[0] - near) & (x < corner[0] + INSET + near)
            up = (y > corner[1] - near) & (y < corner[1] + INSET + near)
            if not held[up][:, across].any():
                return corner
        more = 0.03 * (right - left)
        ax.set_xlim(left - more, right + more)
        ax.set_ylim(low - more, high + more)


def take(q: Q, images: slice) -> Q:
    """The q of some of the images."""
    return q.with_parameters([parameter[images] for parameter in q.variational_parameters()])
