"""What an ELBO costs: a VAE beside a decoder that was trained on log p(x) itself."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from vae_exp import figures
from vae_exp.analysis.bars import progress_bar
from vae_exp.analysis.base import Findings, Look, in_words
from vae_exp.data import Splits
from vae_exp.data.splits import SplitName
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation.ceiling import Decomposition, ceiling
from vae_exp.evaluation.estimates import Estimate, estimate
from vae_exp.evaluation.exact import MOST_DIMS, is_exact
from vae_exp.figures import Style
from vae_exp.parts import build
from vae_exp.ranges import Positive
from vae_exp.runs import loading
from vae_exp.runs.looking import keep, show, splits_of

Found = Mapping[SplitName, Decomposition]

IMAGES = 500
SPLITS: tuple[SplitName, ...] = ("train", "test")
NAMES = {
    "ceiling": "log p(x), decoder trained on it",
    "log_p_x": "log p(x), decoder of the VAE",
    "best_q": "ELBO of the best q of the family",
    "elbo": "ELBO of the encoder's q",
    "decoder": "the decoder bent itself to its encoder",
    "family": "the family of q",
    "amortisation": "amortisation",
}
ENDS: dict[str, Literal["bottom", "top"]] = {"ceiling": "bottom", "elbo": "top"}
VISIBLE = 0.04  # of the axis: a part below this is told, not shown
COLORS = {"decoder": "#bd1f01", "family": "#832db6", "amortisation": "#3f90da"}


class Ceiling:
    """What lies between log p(x) of an exactly trained decoder and a VAE's ELBO, in three parts.

    ``runs`` are a run with `objective=marginal` and the VAE, both with one to three latent
    dimensions. The first ``images`` training and test images are asked, apart. Numbers and a figure
    are kept in the VAE's folder. Called with the whole config.
    """

    def __init__(self, *, runs: Sequence[str], images: Positive = IMAGES) -> None:
        if len(runs) != 2:
            raise UserError(
                f"runs must name two: one with objective=marginal and the VAE, got {list(runs)}"
            )
        check_positive("task.images", images)
        self.runs = runs
        self.images = images

    def __call__(self, config: dict[str, Any]) -> Path:
        """Returns the VAE's folder.

        Raises UserError if the runs are about different images, or have no exact log p(x).
        """
        style: Style = build(config["figures"], "figures", Style)
        seed, root = config["seed"], config["data"].get("root")
        exactly_trained, vae = (loading.load(spec) for spec in self.runs)
        refuse_inexact(exactly_trained, vae)
        splits = splits_of(vae, root)
        refuse_differences(exactly_trained, splits_of(exactly_trained, root), vae, splits)
        found: dict[SplitName, Decomposition] = {}
        for name in SPLITS:
            x = splits.named(name).images[: self.images]
            with progress_bar() as stage:
                found[name] = ceiling(exactly_trained.model, vae.model, x, seed=seed, stage=stage)
        look = self.look(exactly_trained, found, splits)
        keep(look, seed, vae.folder, style)
        show(look.findings, vae.folder, style, Console())
        return vae.folder

    def look(self, above: loading.Run, found: Found, splits: Splits) -> Look:
        """The numbers, the table and the figure under a name that tells which run is above."""
        images = "" if self.images == IMAGES else f"_images{self.images}"
        name = f"ceiling{images}{in_words(str(above.weights.parent.resolve()))}"
        fig = figure_of(
            found, [splits.caption, *(f"{name}: {splits.named(name).origin}" for name in SPLITS)]
        )
        numbers: dict[str, Any] = {split: numbers_of(each) for split, each in found.items()}
        findings = Findings({name: fig}, numbers, [table_of(found, splits)])
        return Look(name, {"above": str(above.folder), "images": self.images}, findings)


def refuse_inexact(*runs: loading.Run) -> None:
    """Raise UserError naming the first run whose log p(x) is no integral that can be done."""
    for run in runs:
        if not is_exact(run.model):
            raise UserError(
                f"{run.folder} has latent_dim {run.model.latent_dim}, and the exact log p(x) needs "
                f"{MOST_DIMS} or fewer"
            )


def refuse_differences(one: loading.Run, mine: Splits, other: loading.Run, theirs: Splits) -> None:
    """Raise UserError if two runs score other images, or score them by another kind of number."""
    for name in SPLITS:
        if mine.named(name).sha256 != theirs.named(name).sha256:
            raise UserError(
                f"{one.folder} and {other.folder} have other {name} images: train both with the "
                "same data= and seed of the data"
            )
    scores = [run.model.likelihood_family.scores for run in (one, other)]
    if scores[0] != scores[1]:
        raise UserError(
            f"{one.folder} and {other.folder} cannot stand in one figure: p(x | z) is a "
            f"{scores[0]} in the first and a {scores[1]} in the second"
        )


def numbers_of(found: Decomposition) -> dict[str, Any]:
    """The levels and the parts of one split, and how exact they are."""
    rows = {**found.levels(), **found.parts()}
    return {
        **{name: estimate(values, NAMES[name]).as_dict() for name, values in rows.items()},
        "largest_error": found.error,
        "not_converged": found.missed,
    }


def table_of(found: Found, splits: Splits) -> Table:
    """A row a level and a row a part; the last column is the cost of images not trained on."""
    train, test = (found[name] for name in SPLITS)
    missed = train.missed + test.missed
    table = Table(
        title=f"nats per image, first {len(train.elbo):,} training and {len(test.elbo):,} test "
        f"images, {splits.caption}",
        caption="± standard error over images; parts are paired image by image; each log p(x) to "
        f"{max(train.error, test.error):.1g} nats" + (f", {missed} not converged" * bool(missed)),
    )
    table.add_column("")
    for column in (*SPLITS, "train − test"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind in (Decomposition.levels, Decomposition.parts):
        for name, values in kind(train).items():
            pair = [estimate(each, NAMES[name]) for each in (values, kind(test)[name])]
            table.add_row(NAMES[name], *map(str, pair), in_a_cell(pair), end_section=name == "elbo")
    return table


def in_a_cell(pair: Sequence[Estimate]) -> str:
    """The first less the second, which are about different images."""
    one, other = pair
    return f"{one.mean - other.mean:+.2f} ± {math.hypot(one.stderr, other.stderr):.2f}"


def figure_of(found: Found, caption: Sequence[str]) -> Figure:
    """From the ELBO up to the ceiling: a bar a split, made of the three parts."""
    fig = figures.figure(6.0, 4.4)
    ax = fig.add_subplot()
    ends = [getattr(each, name).mean().item() for each in found.values() for name in ENDS]
    span = max(ends) - min(ends)
    unseen = []
    for place, (split, each) in enumerate(found.items()):
        top = each.ceiling.mean().item()
        for name, values in each.parts().items():
            part = estimate(values, name)
            label = None if place else NAMES[name]
            drawn: dict[str, Any] = {"color": COLORS[name], "ec": "white", "lw": 0.5}
            ax.bar(place, -part.mean, bottom=top, width=0.5, label=label, **drawn)
            if abs(part.mean) > VISIBLE * span:
                middle = (place + 0.28, top - part.mean / 2)
                ax.annotate(str(part), middle, va="center", fontsize=8)
            else:
                unseen.append(f"{NAMES[name]}, {split}: {part}")
            top -= part.mean
        for name, side in ENDS.items():
            level = getattr(each, name).mean().item()
            ax.annotate(f"{level:.1f}", (place, level), ha="center", va=side, fontsize=8)
    ax.set_xticks(range(len(found)), [f"{name} images" for name in found])
    ax.set_xlim(-0.5, len(found) - 0.2)
    ax.set_ylim(min(ends) - 0.35 * span, max(ends) + 0.1 * span)
    ax.set_ylabel("nats per image")
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    ax.set_title("From the ELBO up to a decoder trained on log p(x)", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    figures.caption(fig, *caption, *unseen, "± standard error over images, paired")
    return fig
