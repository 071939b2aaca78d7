"""The inference gap as a table, a figure by class, and the images that the encoder serves worst."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from vae_exp import figures
from vae_exp.data import Splits
from vae_exp.evaluation.estimates import Estimate, estimate
from vae_exp.evaluation.gap import OUTSIDE, Gap
from vae_exp.evaluation.subsets import Regression
from vae_exp.inference.rounds import Best
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.streams import generator

PARTS_DRAWN: dict[str, dict[str, Any]] = {
    "not Gaussian": {"color": "#832db6"},
    "no covariance": {"color": "#ffa90e", "hatch": "///"},
    "amortisation": {"color": "#3f90da"},
    OUTSIDE: {"color": "#832db6"},
}
VISIBLE = 0.005  # of the highest bar: a part below this in every bar is told, not shown
WORST = 10
OWN = "the encoder's own family"
ALL, WHOLE = "all", "whole"
Means = dict[str, dict[str, Estimate]]  # by group of images, ALL first, and by part, WHOLE last


def numbers_of_best(best: Best[Any], truth: Tensor, truth_name: str) -> dict[str, Any]:
    """What the best q of a family lacks to the truth, and how far the last steps moved it."""
    short = estimate(truth - best.elbo[: len(truth)], f"{truth_name} − ELBO of the best q, paired")
    moved = best.moved[: len(truth)]
    return {
        **short.as_dict(),
        "last_round_moved": moved.mean().item(),
        "last_round_moved_at_most": moved.max().item(),
        "images_not_converged": int((~best.converged[: len(truth)]).sum()),
    }


def best_in_words(gap: Gap, truth: Tensor, truth_name: str) -> str:
    """How far the best q of each family is from the truth, and whether more steps would help."""
    told = []
    for name, best in gap.best.items():
        short = (truth - best.elbo[: len(truth)]).mean().item()
        left = int((~best.converged[: len(truth)]).sum())
        note = f" (not yet converged for {left:,} images)" if left else ""
        told.append(f"{OWN if name == 'own' else name} {short:.3f}{note}")
    return f"nats from {truth_name} log p(x) to the best q of a family: " + ", ".join(told)


def by_class(splits: Splits, count: int) -> dict[str, Tensor]:
    """Which of the first test images [count] show what; nothing if they have no labels."""
    test = splits.test
    shown = {label: test.of(label)[:count] for label in test.classes}
    return {splits.source.class_name(label): own for label, own in shown.items() if own.any()}


def gap_means(
    parts: dict[str, Tensor], groups: dict[str, Tensor], whole: Tensor | None = None
) -> Means:
    """The mean of each of the gap's ``parts`` [n] and of their sum, for all images and by group.

    ``groups`` are bool [N]. ``whole`` [N], the gap of all images, tells the parts of those that no
    q was fitted to.
    """
    parts = {**parts, WHOLE: torch.stack(list(parts.values())).sum(0)}
    known = [] if whole is None else [whole]
    laws = {name: Regression(values, known) for name, values in parts.items()}
    count = len(parts[WHOLE])
    rows = {ALL: None, **{name: own for name, own in groups.items() if own[:count].any()}}
    return {
        group: {name: law.mean(name, own) for name, law in laws.items()}
        for group, own in rows.items()
    }


def gap_table(means: Means, truth_name: str) -> Table:
    """The parts of the gap on average, and by class."""
    table = Table(title=f"{truth_name} log p(x) − ELBO(encoder), {which(means)}, nats")
    table.add_column("images", justify="right")
    for name in means[ALL]:
        table.add_column(name, justify="right")
    for group, row in means.items():
        name = group if group == ALL else f"class {group}"
        table.add_row(name, *map(str, row.values()), end_section=group == ALL)
    return table


def which(means: Means) -> str:
    """Which images the means are of, in words."""
    one = means[ALL][WHOLE]
    if one.of_images is None:
        return f"first {one.images:,} test images"
    return f"{one.of_images:,} test images, parts by the first {one.images:,}"


def gap_figure(means: Means, truth_name: str, caption: Sequence[str]) -> Figure:
    """Stacked bars by class: what each restriction of q costs."""
    fig = figures.figure(7.0, 4.2)
    ax = fig.add_subplot()
    base = torch.zeros(len(means), dtype=torch.float64)
    places = torch.arange(len(means)).double() + 0.5 * (torch.arange(len(means)) > 0)
    bars = {
        name: torch.tensor([row[name].mean for row in means.values()], dtype=torch.float64)
        for name in means[ALL]
    }
    highest = bars.pop(WHOLE).max()
    unseen = []
    for name, heights in bars.items():
        if heights.abs().max() < VISIBLE * highest:
            unseen.append(f"{name}: at most {heights.abs().max():.1g} nats, too little to be seen")
        ax.bar(
            places,
            heights,
            bottom=base,
            label=None if unseen and unseen[-1].startswith(name) else name,
            width=0.75,
            ec="white",
            lw=0,
            **PARTS_DRAWN[name],
        )
        base = base + heights
    spread = [row[WHOLE].stderr for row in means.values()]
    ax.errorbar(places, base, yerr=spread, fmt="none", ecolor="0.2", capsize=2, linewidth=0.8)
    ax.set_xticks(places, [figures.plain(name) for name in means])
    if len(means) == 1:  # one bar, which would be as wide as the axes
        ax.set_xlim(-2, 2)
    ax.set_xlabel("class" if len(means) > 1 else "the images have no labels")
    ax.set_ylabel(f"{truth_name} log p(x) − ELBO [nats]")
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], names[::-1], frameon=False, fontsize=8)
    ax.set_title(
        "The inference gap and its parts (whiskers: standard error of the whole)", fontsize=10
    )
    ax.spines[["top", "right"]].set_visible(False)
    figures.caption(fig, *caption, *unseen)
    return fig


def errors_in_words(gap: Gap, count: int) -> str:
    """How far the ELBOs of single images may be off."""
    return f"ELBOs of single images to {gap.error[:count].max():.1g} nats"


def in_nats(value: float, error: float) -> str:
    """A number of whole nats, with its error if that can be seen."""
    shown = f" ± {2 * error:.1f}" if 2 * error >= 0.5 else ""  # a difference of two ELBOs
    return f"{value:.0f}{shown} nats"


@torch.no_grad()
def worst_figure(
    model: VAE,
    images: Tensor,
    gap: Gap,
    parts: dict[str, Tensor],
    caption: Sequence[str],
    seed: int,
) -> Figure:
    """The largest amortisation gaps: what the encoder's q and the best q decode to."""
    amortisation = parts["amortisation"]
    worst = amortisation.topk(min(WORST, len(amortisation))).indices
    own = gap.own.q

    def decoded(q: Posterior) -> Tensor:
        noise = q.noise.draw(64, 1, generator=generator(seed, "worst"), device=model.device)
        z = q.at(worst).sample(noise.expand(-1, len(worst), -1))
        return model.likelihood(z).mean.mean(0)

    return figures.image_grid(
        model.pictures(torch.stack([images[worst], decoded(gap.encoder), decoded(own)])),
        row_labels=("image", "encoder's q", "best q of its family"),
        column_labels=[in_nats(amortisation[i].item(), gap.error[i].item()) for i in worst],
        title="The largest amortisation gaps, and what z of each q decodes to on average",
        caption=caption,
    )
