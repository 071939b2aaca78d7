"""The pictures of one completion: densities of z, images, and the trace of SVI."""

import math
from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis import contours
from vae_exp.analysis.plane import NEGLIGIBLE, REACH, Window, widest_plane, window
from vae_exp.evaluation import completion
from vae_exp.evaluation.completion import AGREE, DIAGONAL, ENCODER, FULL, Inference, Masked, Score
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.streams import generator

LINE = 16_001  # points over one latent dimension
JOINT = "p(z, visible)"
TALLEST = 2.5  # times as high as wide: what images of more rows than columns may make of a figure
SAMPLES = 512  # of z for the mean completion under q
STYLES = {
    JOINT: contours.TRUE,
    FULL: contours.FULL,
    DIAGONAL: contours.DIAGONAL,
    ENCODER: contours.ENCODER,
}
LogDensity = Callable[[Tensor], Tensor]  # z [G, Z] -> [G]


def draw(
    masked: Masked,
    found: Inference,
    scored: dict[str, Score],
    *,
    count: int,
    seed: int,
) -> tuple[Figure, Figure]:
    """The answer, and how far it can be trusted: two figures of one image.

    The first has p(z, visible) and the diagonal q, the image, and its visible pixels joined to what
    one z of this q foretells. The second has every q, ``count`` completions from each of the
    diagonal q and p(z | visible), that z of q first, and the trace of SVI.
    """
    draws = generator(seed, "completions")
    noise = torch.randn(count, *found.diagonal.mean.shape, generator=draws)
    points, weights = completion.posterior_points(masked, found.full, draws)
    resampled = completion.resample(points, weights, count, draws)[:, None]
    z = torch.stack([found.diagonal.sample(noise), resampled])
    means = torch.stack(
        [
            mean_under(masked, found.diagonal, draws),
            completion.mean_completion(masked, points, weights),
        ]
    )
    completions = torch.cat([means[:, None], masked.complete(z)[:, :, 0]], 1)
    near, whole = looks(masked, found)
    return (
        draw_answer(masked, found, scored, near, completions[0, 1]),
        draw_inference(masked, found, scored, whole, completions),
    )


def mean_under(masked: Masked, q: Posterior, draws: torch.Generator) -> Tensor:
    """The visible pixels of a single image joined to the mean of E[hidden | z] over q(z): [D]."""
    z = q.sample(torch.randn(SAMPLES, *q.mean.shape, generator=draws))[:, 0]
    return completion.mean_completion(masked, z, torch.full((SAMPLES,), 1 / SAMPLES))


def draw_answer(
    masked: Masked, found: Inference, scored: dict[str, Score], shown: Window, completed: Tensor
) -> Figure:
    """Two densities of z and two images, side by side."""
    height, width = masked.model.shape[:2]
    fig = figures.figure(10.5, 4.7 * min(TALLEST, max(1.0, height / width)))
    ax, *places = fig.subplots(1, 3, gridspec_kw={"wspace": 0.12})
    draw_densities(ax, masked, found, scored, shown, only=(JOINT, DIAGONAL))
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2, "borderpad": 0.9}
    ax.legend(frameon=False, fontsize=9, **below)
    titles = (
        "the image; what is hidden is tinted",
        "visible pixels joined to the\nmeans of p(hidden | z), one z ~ diagonal q",
    )
    for place, image, title in zip(places, (masked.x[0], completed), titles, strict=True):
        figures.image_rows(place, masked.model.pictures(image)[None, None])
        place.set_title(title, fontsize=9)
    hidden = ~masked.seen.view(height, width, -1)[..., 0]
    figures.tint(places[0], hidden)
    return fig


def draw_inference(
    masked: Masked, found: Inference, scored: dict[str, Score], shown: Window, completions: Tensor
) -> Figure:
    """Every q on the left; on the right completions [2, 1 + C, D], means first, and the trace."""
    fig = figures.figure(10.5, 4.6)
    grid = fig.add_gridspec(2, 2, width_ratios=(1, 1.6), height_ratios=(1.6, 1))
    left = grid[:, 0].subgridspec(2, 1, height_ratios=(6, 1))
    densities = fig.add_subplot(left[0])
    draw_densities(densities, masked, found, scored, shown)
    draw_key(fig.add_subplot(left[1]), densities)
    ax = fig.add_subplot(grid[0, 1])
    labels = ("z ~ diagonal q", "z ~ p(z | visible)")
    pictures = masked.model.pictures(completions)
    figures.image_rows(ax, pictures, row_labels=labels, column_labels=("mean",), breaks=(1,))
    ax.set_title("visible pixels joined to the means of p(hidden | z)", fontsize=9)
    draw_trace(fig.add_subplot(grid[1, 1]), found)
    return fig


@torch.no_grad()
def looks(masked: Masked, found: Inference) -> tuple[Window, Window]:
    """p(z, visible pixels) and every q but the encoder's, where they are not negligible.

    The second window holds the encoder's q too, if that leaves the others their room.
    """
    densities = {JOINT: at_rows(masked.log_joint)}
    densities |= {name: at_rows(q.log_prob) for name, q in found.by_name().items()}
    encoder = densities.pop(ENCODER)
    reach = max(REACH, masked.model.prior_family.reach())

    def look(densities: dict[str, LogDensity]) -> Window:
        if masked.model.latent_dim == 1:
            return line(densities, reach)
        return window(widest_plane(found.full), densities, reach)

    near = look(densities)
    if in_reach(found.encoder.mean[0], near):
        return near, look(densities | {ENCODER: encoder})
    return near, near


def draw_densities(
    ax: Axes,
    masked: Masked,
    found: Inference,
    scored: dict[str, Score],
    shown: Window,
    only: Collection[str] = (JOINT, FULL, DIAGONAL, ENCODER),
) -> None:
    """The densities of a window: contours at matched probability mass, or curves if Z = 1.

    If the encoder's q is not among them, its place is told.
    """
    dims, place = masked.model.latent_dim, found.encoder.mean[0]
    labels = {name: f"{name}: KL {rounded_kl(score)}" for name, score in scored.items()}
    labels[JOINT] = "p(z | visible)" if dims == 1 else JOINT
    drawn = {name: f for name, f in shown.log_densities.items() if name in only}
    shown = replace(shown, log_densities=drawn)
    if dims == 1:
        draw_curves(ax, shown, labels)
    else:
        contours.draw_contours(ax, shown, STYLES, labels)
    if ENCODER in only and ENCODER not in drawn:
        at = ", ".join(f"{value:.1f}" for value in place).replace("-", "−")
        where = f"outside, at ({at})" if dims <= 2 else "not in this plane"
        ax.plot([], [], " ", label=f"{labels[ENCODER]}, {where}")
    if dims > 2:
        ax.set_xlabel("widest axis of full q")
        ax.set_ylabel("second widest axis of full q")
    lines = "densities" if dims == 1 else "contours hold 50, 80, 95 % of the mass"
    ax.set_title(f"what the visible pixels say of z\n{lines}; KL in nats", fontsize=9)


def rounded_kl(score: Score) -> str:
    """The KL of one image with its error, if that shows in the two digits that are drawn."""
    kl, error = score.kl.item(), score.kl_error.item()
    if math.isinf(error):
        return f"≥ {kl:.2g}"
    return f"{kl:.2g} ± {error:.1g}" if error > 0.05 * abs(kl) else f"{kl:.2g}"


def draw_key(ax: Axes, densities: Axes) -> None:
    """The legend of the densities, in axes of its own: so it keeps clear of the caption."""
    ax.set_axis_off()
    handles, labels = densities.get_legend_handles_labels()
    legend = ax.legend(
        handles,
        labels,
        loc="upper center",
        ncols=2,
        columnspacing=1,
        handlelength=1.2,
        frameon=False,
        fontsize=7,
    )
    legend.set_in_layout(False)  # or its width would be taken from the densities


def draw_curves(ax: Axes, shown: Window, labels: dict[str, str]) -> None:
    """Each density of the one latent dimension, with area one."""
    for name, log_density in shown.log_densities.items():
        density = torch.exp(log_density - log_density.max())
        density /= torch.trapezoid(density, shown.xs)
        style = dict(STYLES[name])
        if style.pop("filled", False):
            ax.fill_between(shown.xs, density, label=labels[name], **style)
        else:
            ax.plot(shown.xs, density, label=labels[name], **style)
    ax.set_ylim(0)
    ax.set_xlabel("$z$")
    ax.set_ylabel("density")
    ax.locator_params(nbins=6)
    ax.tick_params(labelsize=8)


def at_rows(log_density: LogDensity) -> LogDensity:
    """A log density of z [G, 1, Z] for one image, as one of z [G, Z]."""
    return lambda z: log_density(z[:, None])[:, 0]


def line(densities: dict[str, LogDensity], reach: float) -> Window:
    """Log densities over one latent dimension, where any of them is not negligible."""
    z = torch.linspace(-reach, reach, LINE)
    values = {name: log_density(z[:, None]) for name, log_density in densities.items()}
    held = torch.stack([v > v.max() + NEGLIGIBLE for v in values.values()]).any(0).nonzero()
    part = slice(int(held.min()), int(held.max()) + 1)
    return Window(z[part], z[:0], {name: v[part] for name, v in values.items()})


def in_reach(place: Tensor, shown: Window) -> bool:
    """Whether z [Z] lies in a window of one or two dimensions, or within half of it beside."""
    for value, axis in zip(place, (shown.xs, shown.ys), strict=False):
        reach = (axis[-1] - axis[0]) / 2
        if not axis[0] - reach < value < axis[-1] + reach:
            return False
    return len(place) <= 2


def draw_trace(ax: Axes, found: Inference) -> None:
    """The ELBO of log p(visible pixels) at every step of SVI, and what it comes to."""
    trace = found.trace[:, 0]
    ax.plot(torch.arange(1, len(trace) + 1), trace, color="#3f90da", linewidth=0.8)
    ax.axhline(found.restarts.max().item(), color="0.4", linewidth=0.6, linestyle="--")
    low, high = trace[len(trace) // 20 :].min().item(), trace.max().item()
    ax.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    agree = f"{found.agreeing} of {len(found.restarts)} restarts end within {AGREE} nats"
    ax.set_xlabel(f"step of SVI, diagonal q; {agree}", fontsize=8)
    ax.set_ylabel("ELBO [nats]", fontsize=8)
    ax.tick_params(labelsize=7)
