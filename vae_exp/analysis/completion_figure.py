"""The picture of one completion: densities of z, images, and the trace of SVI."""

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.plane import NEGLIGIBLE, REACH, Window, widest_plane, window
from vae_exp.evaluation import completion
from vae_exp.evaluation.completion import AGREE, DIAGONAL, ENCODER, FULL, Inference, Masked, Score
from vae_exp.probability.streams import generator

HIDDEN_GREY = 0.15
LINE = 16_001  # points over one latent dimension
JOINT = "p(z, visible)"
COLORS = {JOINT: "#3f90da", FULL: "#832db6", DIAGONAL: "#bd1f01", ENCODER: "#ffa90e"}
LogDensity = Callable[[Tensor], Tensor]  # z [G, Z] -> [G]


def draw(
    masked: Masked,
    found: Inference,
    scored: dict[str, Score],
    *,
    count: int,
    seed: int,
) -> Figure:
    """Densities on the left; ``count`` completions from each of q and p(z | visible) on the right.

    ``masked``, ``found`` and ``scored`` are of one image.
    """
    draws = generator(seed, "completions")
    noise = torch.randn(count, *found.diagonal.mean.shape, generator=draws)
    points, weights = completion.posterior_points(masked, found.full, draws)
    resampled = completion.resample(points, weights, count, draws)[:, None]
    from_both = torch.stack([found.diagonal.sample(noise), resampled])
    mean = completion.mean_completion(masked, points, weights)
    blank = torch.where(masked.seen, masked.x[0], HIDDEN_GREY)

    fig = figures.figure(10.5, 5.0)
    grid = fig.add_gridspec(3, 2, width_ratios=(1, 1.4), height_ratios=(1, 2, 1.2))
    left = grid[:, 0].subgridspec(2, 1, height_ratios=(6, 1))
    densities = fig.add_subplot(left[0])
    draw_densities(densities, masked, found, scored)
    draw_key(fig.add_subplot(left[1]), densities)
    figures.image_rows(
        fig.add_subplot(grid[0, 1]),
        torch.stack([masked.x[0], blank, mean])[None],
        column_labels=("whole image", "visible", "posterior mean"),
    )
    ax = fig.add_subplot(grid[1, 1])
    labels = ("z ~ diagonal q", "z ~ p(z | visible)")
    figures.image_rows(ax, masked.complete(from_both)[:, :, 0], row_labels=labels)
    ax.set_title("visible pixels joined to the means of p(hidden | z)", fontsize=9)
    draw_trace(fig.add_subplot(grid[2, 1]), found)
    return fig


@torch.no_grad()
def draw_densities(ax: Axes, masked: Masked, found: Inference, scored: dict[str, Score]) -> None:
    """p(z, visible pixels) and every q: contours at matched probability mass, or curves if Z = 1.

    The encoder's q is drawn where that leaves the others their room, else only its place is told.
    """
    dims, place = masked.model.latent_dim, found.encoder.mean[0]
    labels = {name: f"{name}: KL {score.kl.item():.2g}" for name, score in scored.items()}
    labels[JOINT] = "p(z | visible)" if dims == 1 else JOINT
    densities = {JOINT: at_rows(masked.log_joint)}
    densities |= {name: at_rows(q.log_prob) for name, q in found.by_name().items()}
    encoder = densities.pop(ENCODER)

    def look(densities: dict[str, LogDensity]) -> Window:
        return line(densities) if dims == 1 else window(widest_plane(found.full), densities)

    shown = look(densities)
    if in_reach(place, shown):
        shown = look(densities | {ENCODER: encoder})
    (draw_curves if dims == 1 else draw_contours)(ax, shown, labels)
    if ENCODER not in shown.log_densities:
        at = ", ".join(f"{value:.1f}" for value in place).replace("-", "−")
        where = f"outside, at ({at})" if dims <= 2 else "not in this plane"
        ax.plot([], [], " ", label=f"{labels[ENCODER]}, {where}")
    if dims > 1:
        ax.set_xlabel("$z_1$" if dims == 2 else "widest axis of full q")
        ax.set_ylabel("$z_2$" if dims == 2 else "second widest axis of full q")
    ax.locator_params(nbins=6)
    ax.tick_params(labelsize=8)
    drawn = "densities" if dims == 1 else "contours hold 50, 80, 95 % of the mass"
    ax.set_title(f"what the visible pixels say of z\n{drawn}; KL in nats", fontsize=9)


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


def draw_contours(ax: Axes, shown: Window, labels: dict[str, str]) -> None:
    """Each density's contours of 50, 80 and 95 % of its mass, within limits that hold them all."""
    held = []
    for name, log_density in shown.log_densities.items():
        levels = figures.isocontours(
            ax, shown.xs, shown.ys, log_density, color=COLORS[name], label=labels[name]
        )
        held.append(log_density >= levels.min())
    inside = torch.stack(held).any(0)
    xs, ys = shown.xs[inside.any(0)], shown.ys[inside.any(1)]
    half = 0.6 * max(xs[-1] - xs[0], ys[-1] - ys[0]).item()
    for set_limits, axis in ((ax.set_xlim, xs), (ax.set_ylim, ys)):
        middle = (axis[0] + axis[-1]).item() / 2
        set_limits(middle - half, middle + half)
    ax.set_box_aspect(1)  # and so both axes have the same scale


def draw_curves(ax: Axes, shown: Window, labels: dict[str, str]) -> None:
    """Each density of the one latent dimension, with area one."""
    for name, log_density in shown.log_densities.items():
        density = torch.exp(log_density - log_density.max())
        density /= torch.trapezoid(density, shown.xs)
        ax.plot(shown.xs, density, color=COLORS[name], label=labels[name])
    ax.set_xlabel("$z$")
    ax.set_ylabel("density")


def at_rows(log_density: LogDensity) -> LogDensity:
    """A log density of z [G, 1, Z] for one image, as one of z [G, Z]."""
    return lambda z: log_density(z[:, None])[:, 0]


def line(densities: dict[str, LogDensity]) -> Window:
    """Log densities over one latent dimension, where any of them is not negligible."""
    z = torch.linspace(-REACH, REACH, LINE)
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
    ax.plot(torch.arange(1, len(trace) + 1), trace, color=COLORS[JOINT], linewidth=0.8)
    ax.axhline(found.restarts.max().item(), color="0.4", linewidth=0.6, linestyle="--")
    low, high = trace[len(trace) // 20 :].min().item(), trace.max().item()
    ax.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    agree = f"{found.agreeing} of {len(found.restarts)} restarts end within {AGREE} nats"
    ax.set_xlabel(f"step of SVI, diagonal q; {agree}", fontsize=8)
    ax.set_ylabel("ELBO [nats]", fontsize=8)
    ax.tick_params(labelsize=7)
