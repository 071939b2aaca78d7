"""What is hidden, given what is seen? Inference of z from some of an image's pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vae_exp import figures, svi
from vae_exp.analysis.base import Findings
from vae_exp.analysis.plane import widest_plane, window
from vae_exp.data import Split, Splits
from vae_exp.errors import UserError
from vae_exp.evaluation import elbo_terms
from vae_exp.masks import visible_pixels
from vae_exp.model import VAE
from vae_exp.networks import check_positive
from vae_exp.posteriors import DiagonalGaussian
from vae_exp.seeding import generator

HIDDEN_GREY = 0.15
JOINT_COLOR, Q_COLOR = "#3f90da", "#bd1f01"
AGREE = 0.1  # nats


@dataclass(frozen=True)
class Inference:
    """q(z | visible pixels) of one image, the trace of its ELBO, and what each restart reached."""

    q: DiagonalGaussian  # mean [1, Z]
    trace: Tensor  # [steps] of the restart that won
    restarts: Tensor  # [R] in nats


class Completion:
    """Fits q(z | visible pixels) by SVI and shows what it says of the hidden ones.

    ``index`` names a test image; ``digit`` a class, of which the best modelled image is taken;
    with neither the best modelled one of those with more ink than the median.
    """

    def __init__(
        self,
        *,
        name: str = "complete",
        mask: str = "top",
        digit: int | None = None,
        index: int | None = None,
        completions: int = 8,
        samples: int = 16,
        steps: int = 300,
        restarts: int = 10,
    ) -> None:
        for key, value in (
            ("task.completions", completions),
            ("task.samples", samples),
            ("task.steps", steps),
            ("task.restarts", restarts),
        ):
            check_positive(key, value)
        if digit is not None and index is not None:
            raise UserError(f"give digit or index, not both: got digit={digit} index={index}")
        visible_pixels(mask)
        self.name = name
        self.mask = mask
        self.digit = digit
        self.index = index
        self.completions = completions
        self.samples = samples
        self.steps = steps
        self.restarts = restarts

    def unsuited(self, model: VAE) -> str | None:
        """None: any latent dimension will do."""
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure and the ELBO of log p(visible pixels); the streams are (``seed``, ...)."""
        index = self.choose(model, splits.test)
        image = splits.test.images[index]
        seen = visible_pixels(self.mask, seed)
        inference = self.infer(model, image, seen, seed)
        completions = complete(model, inference.q, image, seen, self.completions, seed)
        fig = self.draw(model, splits, index, image, seen, inference, completions)
        numbers = self.numbers(splits.test, index, inference)
        return Findings({self.figure_name(index): fig}, numbers)

    def choose(self, model: VAE, test: Split) -> int:
        """The test image to complete."""
        if self.index is not None:
            if self.index >= len(test):
                raise UserError(f"index must be from 0 to {len(test) - 1}, got {self.index}")
            return self.index
        elbo = elbo_terms(model, test.images, samples=4).bound.cpu()
        ink = test.binary.sum(1)
        eligible = ink > ink.float().median() if self.digit is None else test.labels == self.digit
        if not eligible.any():
            raise UserError(f"digit={self.digit} is not among the {len(test)} test images")
        return int(torch.where(eligible, elbo, -torch.inf).argmax())

    def infer(self, model: VAE, image: Tensor, seen: Tensor, seed: int) -> Inference:
        """Fit q by SVI from several starts and keep the one with the highest ELBO."""
        pixels = seen.nonzero().flatten()
        visible = image[pixels]
        draws = generator(seed, "completion")
        model.requires_grad_(False)

        def log_joint(z: Tensor) -> Tensor:
            return model.joint_log_density(visible, z, pixels)

        start = svi.promising_starts(
            log_joint, 1, model.latent_dim, starts=self.restarts, generator=draws
        )
        fit = svi.fit(log_joint, start, samples=self.samples, steps=self.steps, generator=draws)
        reached = svi.elbo_of(log_joint, fit.q, samples=4096, generator=draws)  # [R, 1]
        model.requires_grad_(True)
        best = int(reached[:, 0].argmax())
        return Inference(svi.best_of_starts(fit.q, reached), fit.trace[:, best, 0], reached[:, 0])

    def numbers(self, test: Split, index: int, inference: Inference) -> dict[str, Any]:
        """For metrics.json."""
        best = inference.restarts.max()
        return {
            "mask": self.mask,
            "index": index,
            "digit": int(test.labels[index]),
            "elbo_visible": best.item(),
            "restarts": self.restarts,
            "restarts_that_agree": int((inference.restarts > best - AGREE).sum()),
            "elbo_of_restarts": inference.restarts.tolist(),
            "mean": inference.q.mean[0].tolist(),
            "log_std": inference.q.log_std[0].tolist(),
        }

    def figure_name(self, index: int) -> str:
        """NAME, and the mask or the image where one was asked for."""
        parts = [self.name]
        if self.name != "top_half":
            parts.append(self.mask.split("/")[-1].replace(":", "").removesuffix(".png"))
        if self.digit is not None:
            parts.append(f"digit{self.digit}")
        if self.index is not None:
            parts.append(f"index{self.index}")
        return "_".join(parts)

    def draw(
        self,
        model: VAE,
        splits: Splits,
        index: int,
        image: Tensor,
        seen: Tensor,
        inference: Inference,
        completions: Tensor,
    ) -> Figure:
        """Contours on the left; the images and the ELBO's trace on the right."""
        fig = figures.figure(10.5, 5.0)
        grid = fig.add_gridspec(3, 2, width_ratios=(1, 1.25), height_ratios=(1, 2.1, 1.2))
        contours = fig.add_subplot(grid[:, 0])
        draw_joint(contours, model, image, seen, inference.q)
        hidden_blank = torch.where(seen, image, torch.tensor(HIDDEN_GREY))
        average = completions.mean(0)
        figures.image_rows(
            fig.add_subplot(grid[0, 1]),
            torch.stack([image, hidden_blank, average])[None],
            column_labels=("whole image", f"visible: {self.mask}", "their mean"),
        )
        shown = completions.reshape(2, -1, completions.shape[-1])
        ax = fig.add_subplot(grid[1, 1])
        figures.image_rows(ax, shown)
        ax.set_title("visible pixels joined to the means of p(hidden | z), z ~ q", fontsize=9)
        trace = fig.add_subplot(grid[2, 1])
        draw_trace(trace, inference)
        label = int(splits.test.labels[index])
        fig.suptitle(f"Inferring a {label} from its {self.mask}", fontsize=11)
        figures.caption(
            fig,
            splits.caption,
            f"test image {index} ({splits.test.origin})",
            f"latent dimension {model.latent_dim}",
        )
        return fig


@torch.no_grad()
def complete(
    model: VAE, q: DiagonalGaussian, image: Tensor, seen: Tensor, count: int, seed: int
) -> Tensor:
    """The image's visible pixels joined to sigmoid(decoder(z)) elsewhere, z ~ q: [count, D]."""
    noise = torch.randn(count, 1, model.latent_dim, generator=generator(seed, "completions"))
    means = torch.sigmoid(model.decoder(q.sample(noise)[:, 0]))
    return torch.where(seen, image, means)


def draw_joint(ax: Axes, model: VAE, image: Tensor, seen: Tensor, q: DiagonalGaussian) -> None:
    """p(z, visible pixels) and q: isocontours at matched probability mass, or curves if Z = 1."""
    pixels = seen.nonzero().flatten()

    def joint_log_density(z: Tensor) -> Tensor:
        return model.joint_log_density(image[pixels], z, pixels)

    def log_q(z: Tensor) -> Tensor:
        return q.log_density(z[:, None])[:, 0]

    if model.latent_dim == 1:
        draw_line(ax, joint_log_density, log_q)
        return
    found = window(widest_plane(q), {"joint": joint_log_density, "q": log_q})
    joint, fitted = found.log_densities["joint"], found.log_densities["q"]
    figures.isocontours(
        ax, found.xs, found.ys, joint, color=JOINT_COLOR, label="p(z, visible pixels)"
    )
    figures.isocontours(ax, found.xs, found.ys, fitted, color=Q_COLOR, label="q(z) by SVI")
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, fontsize=8)
    if model.latent_dim == 2:
        ax.set_xlabel("$z_1$")
        ax.set_ylabel("$z_2$")
        ax.set_title("joint density and fitted q", fontsize=9)
    else:
        ax.set_xlabel("widest axis of q")
        ax.set_ylabel("second widest axis of q")
        ax.set_title("the plane through q's mean along its two widest axes", fontsize=9)


@torch.no_grad()
def draw_line(
    ax: Axes, joint_log_density: Callable[[Tensor], Tensor], log_q: Callable[[Tensor], Tensor]
) -> None:
    """Both densities over the one latent dimension, each with area one."""
    z = torch.linspace(-8, 8, 4001)
    for log_density, color, label in (
        (joint_log_density(z[:, None]), JOINT_COLOR, "p(z, visible pixels), normalised"),
        (log_q(z[:, None]), Q_COLOR, "q(z) by SVI"),
    ):
        density = torch.exp(log_density - log_density.max())
        ax.plot(z, density / torch.trapezoid(density, z), color=color, label=label)
    shown = log_density > log_density.max() - 12
    ax.set_xlim(z[shown].min().item() - 0.5, z[shown].max().item() + 0.5)
    ax.set_xlabel("$z$")
    ax.set_ylabel("density")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, fontsize=8)


def draw_trace(ax: Axes, inference: Inference) -> None:
    """The ELBO of log p(visible pixels) at every step of SVI."""
    steps = torch.arange(1, len(inference.trace) + 1)
    ax.plot(steps, inference.trace, color=JOINT_COLOR, linewidth=0.8)
    ax.axhline(inference.restarts.max().item(), color="0.4", linewidth=0.6, linestyle="--")
    low = inference.trace[len(inference.trace) // 20 :].min().item()
    high = inference.trace.max().item()
    ax.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    ax.set_xlabel("step of SVI", fontsize=8)
    ax.set_ylabel("ELBO [nats]", fontsize=8)
    ax.tick_params(labelsize=7)
