"""What do posteriors look like, and what does each q make of them?"""

from functools import partial
from typing import Any, TypeVar

import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.analysis.plane import Plane, window
from vae_exp.data import Splits
from vae_exp.errors import check_positive
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.gap import Gap, inference_gap
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior
from vae_exp.ranges import Positive

Q = TypeVar("Q", bound=Posterior)

COLORS = {
    "exact posterior": "#3f90da",
    "encoder's q": "#ffa90e",
    "best diagonal q": "#bd1f01",
    "best full q": "#832db6",
}


class PosteriorAtlas:
    """The exact posterior beside the encoder's q and the best Gaussians, image by image.

    Among the first ``candidates`` test images ``each`` are taken of three kinds: typical (median
    amortisation gap), worst amortised, and least Gaussian (the widest gap that no Gaussian closes,
    which is where posteriors have several modes).
    """

    name = "posterior_atlas"

    def __init__(self, *, candidates: Positive = 200, each: Positive = 2) -> None:
        check_positive("task.candidates", candidates)
        check_positive("task.each", each)
        self.candidates = candidates
        self.each = each

    def unsuited(self, model: VAE) -> str | None:
        """Only a plane can be drawn whole."""
        if model.latent_dim == 2:
            return None
        return f"a posterior over the plane needs latent_dim 2, the model has {model.latent_dim}"

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure with a panel an image, and the nats behind it."""
        x = splits.test.images[: self.candidates]
        exact = evidence(model, x)
        gap = inference_gap(model, x, seed=seed)
        parts = gap.parts(exact.log_p_x)
        chosen = self.choose(parts)
        rows = len(chosen)
        fig = figures.figure(3.6 * self.each + 0.6, 3.7 * rows + 0.9)
        axes = fig.subplots(rows, self.each, squeeze=False)
        numbers: dict[str, Any] = {}
        for row, (kind, indices) in zip(axes, chosen.items(), strict=True):
            for ax, index in zip(row, indices, strict=True):
                draw_posterior(ax, model, x[index], gap, index)
                nats = {name: part[index].item() for name, part in parts.items()}
                ax.set_title(f"{kind}: test image {index}", fontsize=9)
                ax.set_xlabel(
                    f"gap: {nats['not Gaussian']:.2f} not Gaussian + "
                    f"{nats['no covariance']:.2f} no covariance\n"
                    f"+ {nats['amortisation']:.2f} amortisation = {sum(nats.values()):.2f} nats",
                    fontsize=8,
                )
                numbers.setdefault(kind, []).append({"index": index, **nats})
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
        figures.caption(
            fig,
            splits.caption,
            f"{self.each} each of the first {len(x)} test images ({splits.test.origin})",
            "axes z₁ and z₂; contours hold 50, 80 and 95 % of the mass",
        )
        return Findings({self.name: fig}, numbers)

    def choose(self, parts: dict[str, Tensor]) -> dict[str, list[int]]:
        """The images to draw, by kind."""
        amortisation, shape = parts["amortisation"], parts["not Gaussian"]
        ranked = amortisation.argsort()
        middle = (len(ranked) - self.each) // 2
        return {
            "typical": ranked[middle : middle + self.each].tolist(),
            "worst amortised": ranked.flip(0)[: self.each].tolist(),
            "least Gaussian": shape.argsort(descending=True)[: self.each].tolist(),
        }


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
    found = window(Plane(torch.zeros(2), torch.eye(2)), densities)
    for name, log_density in found.log_densities.items():
        figures.isocontours(ax, found.xs, found.ys, log_density, color=COLORS[name], label=name)
    ax.set_aspect("equal", adjustable="datalim")
    ax.tick_params(labelsize=7)
    inset = ax.inset_axes((0.8, 0.8, 0.19, 0.19))
    inset.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
    inset.set_xticks([])
    inset.set_yticks([])


def take(q: Q, images: slice) -> Q:
    """The q of some of the images."""
    return q.with_parameters([parameter[images] for parameter in q.variational_parameters()])
