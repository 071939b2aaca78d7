"""How far is each bound from log p(x), and why? Every estimate beside the exact value."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from vae_exp import figures, memory
from vae_exp.analysis.base import Findings
from vae_exp.analysis.brackets import bracket_numbers, bracket_table
from vae_exp.data import Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation import ais, importance
from vae_exp.evaluation.certificate import certificate, without_certificate
from vae_exp.evaluation.estimates import elbo_terms, estimate, require_memory
from vae_exp.evaluation.exact import evidence, is_exact
from vae_exp.evaluation.gap import OUTSIDE, Gap, inference_gap
from vae_exp.inference.lattice import Integral
from vae_exp.inference.rounds import Best
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.streams import generator
from vae_exp.ranges import NonNegative, Positive

PARTS_DRAWN: dict[str, dict[str, Any]] = {
    "not Gaussian": {"color": "#832db6"},
    "no covariance": {"color": "#ffa90e", "hatch": "///"},
    "amortisation": {"color": "#3f90da"},
    OUTSIDE: {"color": "#832db6"},
}
VISIBLE = 0.005  # of the highest bar: a part below this in every bar is told, not shown
WORST = 10
OWN = "the encoder's own family"


@dataclass(frozen=True)
class Row:
    """One estimator: its values on the first images of the test set."""

    estimator: str
    values: Tensor  # [n] in nats
    samples: int | None


class Evaluate:
    """ELBO, IWAE-k, AIS and the exact evidence of the test images, and the inference gap's parts.

    ELBO, the exact evidence and IWAE-k for k in ``iwae`` are of the first ``images`` test images
    (null: all), the gap of the first ``gap_images``, AIS and IWAE-``long_iwae`` of the first
    ``ais_images``. With ``gap_flow`` a flow is fitted too, which tells whether q that bend are
    what the Gaussians lack.
    """

    name = "evaluate"

    def __init__(
        self,
        *,
        images: Positive | None = None,
        iwae: Sequence[Positive] = (1, 10, 100, 1000),
        long_iwae: Positive = 5000,
        gap_images: Positive = 1000,
        gap_flow: bool = False,
        ais_images: Positive = 200,
        sandwich_images: Positive = 50,
        elbo_samples: Positive = 16,
        certified: NonNegative = 0,
    ) -> None:
        for key, value in (
            ("task.images", 1 if images is None else images),
            ("task.long_iwae", long_iwae),
            ("task.gap_images", gap_images),
            ("task.ais_images", ais_images),
            ("task.sandwich_images", sandwich_images),
            ("task.elbo_samples", elbo_samples),
            *(("task.iwae", k) for k in iwae),
        ):
            check_positive(key, value)
        self.images = images
        self.iwae = tuple(iwae)
        self.long_iwae = long_iwae
        self.gap_images = gap_images
        self.gap_flow = gap_flow
        self.ais_images = ais_images
        self.sandwich_images = sandwich_images
        self.elbo_samples = elbo_samples
        self.certified = certified

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """None: beyond three latent dimensions AIS stands in for the exact evidence.

        Raises UserError if memory cannot hold the images simulated, or if a certificate is asked
        for and there is none.
        """
        memory.require(
            self.sandwich_images * 4 * model.pixels * memory.COPIES,
            {"task.sandwich_images": self.sandwich_images},
        )
        if self.certified and (reason := without_certificate(model)) is not None:
            raise UserError(f"task.certified must be 0, got {self.certified}: {reason}")
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """Two tables, the gap by class, and the images that the encoder serves worst."""
        test, images = splits.test, splits.test.images[: self.images]
        require_memory(model, len(images), self.elbo_samples, "task.elbo_samples")
        few = images[: self.ais_images]
        with progress_bar() as stage:
            exact = None
            if is_exact(model):
                exact = evidence(model, images, progress=stage("exact log p(x)"))
            bracket = None
            if self.certified:
                bracket = certificate(
                    model, images[: self.certified], progress=stage("certified log p(x)")
                )
            elbo = elbo_terms(model, images, samples=self.elbo_samples, seed=seed).bound
            ladder = importance.iwae_ladder(
                model, images, self.iwae, seed=seed, progress=stage("IWAE")
            )
            long = importance.iwae(
                model, few, self.long_iwae, seed=seed, progress=stage(f"IWAE-{self.long_iwae}")
            )
            annealed = ais.evidence(model, few, seed=seed, progress=stage("AIS"))
            lower, upper = ais.sandwich(
                model, self.sandwich_images, seed=seed, progress=stage("AIS, both ways")
            )
            gap = inference_gap(
                model,
                images[: self.gap_images],
                flow=self.gap_flow,
                seed=seed,
                progress=stage("inference gap"),
            )
        rows = [
            Row("ELBO", elbo.double(), self.elbo_samples),
            *(Row(f"IWAE-{k}", values, k) for k, values in ladder.items()),
            Row(f"IWAE-{self.long_iwae}", long, self.long_iwae),
            Row("AIS", annealed.log_p_x, ais.CHAINS),
        ]
        truth, truth_name = (
            (exact.log_p_x, "exact") if exact is not None else (annealed.log_p_x, "AIS")
        )
        counted = min(len(truth), self.gap_images, len(images))
        parts = gap.parts(truth[:counted])
        groups = by_class(splits, counted)
        numbers: dict[str, Any] = {
            "data": {"split": test.name, "origin": test.origin, "sha256": test.sha256},
            "binarization": splits.binarization,
            "estimates": {r.estimator: numbers_of(r, truth, truth_name, seed) for r in rows},
            "ais_sandwich": {
                "lower": estimate(lower.log_p_x, "AIS forward, simulated images").as_dict(),
                "upper": estimate(upper.log_p_x, "AIS reverse, simulated images").as_dict(),
                "width": estimate(upper.log_p_x - lower.log_p_x, "paired").as_dict(),
            },
            "gap": {
                name: estimate(part, f"of {truth_name} log p(x) − ELBO(encoder)").as_dict()
                for name, part in parts.items()
            },
            "best_q": {
                name: numbers_of_best(best, truth[:counted], truth_name)
                for name, best in gap.best.items()
            },
        }
        tables = [
            bounds_table(rows, truth, truth_name, splits),
            gap_table(parts, groups, truth_name),
        ]
        tables[1].caption = best_in_words(gap, truth[:counted], truth_name)
        width = estimate(upper.log_p_x - lower.log_p_x, "")
        sandwich = (
            f"AIS from both sides on {self.sandwich_images} images simulated from the model: "
            f"{width.mean:.3f} ± {width.stderr:.3f} nats apart"
        )
        tables[0].caption = sandwich
        if exact is not None:
            tables[0].add_row("exact", f"{len(images):,}", *cells(exact.log_p_x), "")
            missed = int((~exact.converged).sum())
            tables[0].caption = (
                f"{sandwich}; exact to {exact.error.max():.0e} nats an image, by "
                f"{error_by(exact)}; {missed} of "
                f"{len(images):,} miss the tolerance of {exact.tolerance:g}"
            )
            numbers["exact"] = {
                **estimate(exact.log_p_x, "quadrature").as_dict(),
                "error_by": error_by(exact),
                "largest_error": exact.error.max().item(),
                "tolerance": exact.tolerance,
                "images_beyond_tolerance": missed,
            }
            if bracket is not None:
                tables.append(bracket_table(bracket, exact))
                numbers["certified"] = bracket_numbers(bracket, exact)
        caption = (splits.caption, f"first {counted:,} test images ({test.origin})")
        return Findings(
            {
                "gap": gap_figure(parts, groups, truth_name, caption),
                "worst_amortised": worst_figure(model, images, gap, parts, caption, seed),
            },
            numbers,
            tables,
        )


def error_by(exact: Integral) -> str:
    """How the error of the exact evidence was found."""
    return "random shifts of the points" if exact.estimated else "halving the lattice's step"


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


def numbers_of(row: Row, truth: Tensor, truth_name: str, seed: int) -> dict[str, Any]:
    """A row for metrics.json, with what it lacks to the truth on the same images."""
    count = min(len(truth), len(row.values))
    short = estimate(truth[:count] - row.values[:count], f"{truth_name} − {row.estimator}, paired")
    own = estimate(row.values, row.estimator, samples=row.samples, seed=seed)
    return {**own.as_dict(), "below_truth": short.as_dict()}


def cells(values: Tensor) -> tuple[str, str]:
    """A mean and its standard error, as printed."""
    number = estimate(values, "")
    return f"{number.mean:.2f}", f"{number.stderr:.2f}"


def bounds_table(rows: list[Row], truth: Tensor, truth_name: str, splits: Splits) -> Table:
    """Each estimate with its standard error over images, and its distance from the truth."""
    table = Table(title=f"log p(x) in nats per image: test set, {splits.caption}")
    table.add_column("estimator")
    for name in ("images", "mean", "± s.e.", f"{truth_name} − it, same images"):
        table.add_column(name, justify="right")
    for row in rows:
        count = min(len(truth), len(row.values))
        short = estimate(truth[:count] - row.values[:count], "")
        table.add_row(
            row.estimator,
            f"{len(row.values):,}",
            *cells(row.values),
            f"{short.mean:.3f} ± {short.stderr:.3f}",
        )
    return table


def by_class(splits: Splits, count: int) -> dict[str, Tensor]:
    """Which of the first test images [count] show what; nothing if they have no labels."""
    test = splits.test
    shown = {label: test.of(label)[:count] for label in test.classes}
    return {splits.source.class_name(label): own for label, own in shown.items() if own.any()}


def gap_table(parts: dict[str, Tensor], groups: dict[str, Tensor], truth_name: str) -> Table:
    """The parts of the gap on average, and of the ``groups`` of images by name, bool [n]."""
    count = len(next(iter(parts.values())))
    table = Table(title=f"{truth_name} log p(x) − ELBO(encoder), {count:,} test images, nats")
    table.add_column("images", justify="right")
    for name in (*parts, "whole"):
        table.add_column(name, justify="right")
    whole = {**parts, "whole": torch.stack(list(parts.values())).sum(0)}
    table.add_row(
        "all", *(" ± ".join(cells(values)) for values in whole.values()), end_section=True
    )
    for name, own in groups.items():
        table.add_row(
            f"class {name}", *(" ± ".join(cells(values[own])) for values in whole.values())
        )
    return table


def gap_figure(
    parts: dict[str, Tensor],
    groups: dict[str, Tensor],
    truth_name: str,
    caption: Sequence[str],
) -> Figure:
    """Stacked bars by class: what each restriction of q costs; classes as in `gap_table`."""
    count = len(next(iter(parts.values())))
    fig = figures.figure(7.0, 4.2)
    ax = fig.add_subplot()
    groups = {"all": torch.ones(count, dtype=torch.bool), **groups}
    base = torch.zeros(len(groups), dtype=torch.float64)
    places = torch.arange(len(groups)).double() + 0.5 * (torch.arange(len(groups)) > 0)
    whole = torch.stack(list(parts.values())).sum(0)
    means = {
        name: torch.stack([values[own].double().mean() for own in groups.values()])
        for name, values in {**parts, "whole": whole}.items()
    }
    unseen = []
    for name in parts:
        heights = means[name]
        if heights.abs().max() < VISIBLE * means["whole"].max():
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
    spread = [estimate(whole[own], "whole").stderr for own in groups.values()]
    ax.errorbar(places, base, yerr=spread, fmt="none", ecolor="0.2", capsize=2, linewidth=0.8)
    ax.set_xticks(places, [figures.plain(name) for name in groups])
    if len(groups) == 1:  # one bar, which would be as wide as the axes
        ax.set_xlim(-2, 2)
    ax.set_xlabel("class" if len(groups) > 1 else "the images have no labels")
    ax.set_ylabel(f"{truth_name} log p(x) − ELBO [nats]")
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], names[::-1], frameon=False, fontsize=8)
    ax.set_title(
        "The inference gap and its parts (whiskers: standard error of the whole)", fontsize=10
    )
    ax.spines[["top", "right"]].set_visible(False)
    figures.caption(fig, *caption, *unseen)
    return fig


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
        column_labels=[f"{amortisation[i]:.0f} nats" for i in worst.tolist()],
        title="The largest amortisation gaps, and what z of each q decodes to on average",
        caption=caption,
    )


@contextmanager
def progress_bar() -> Iterator[Callable[[str], Callable[[float], None]]]:
    """A bar a stage; ``stage(name)`` returns what is told the fraction that is done.

    There are no bars in a notebook, as rich cannot draw them there.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=Console().is_jupyter) as bars:

        def stage(name: str) -> Callable[[float], None]:
            task = bars.add_task(name, total=1.0)
            return lambda fraction: bars.update(task, completed=fraction)

        yield stage
