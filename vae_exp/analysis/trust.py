"""Can the encoder's q be trusted? Its units, its weights, its calibration, its aggregate."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from vae_exp import figures, memory
from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation import diagnostics
from vae_exp.evaluation.diagnostics import ACTIVE, LEVELS, Aggregate, Calibration
from vae_exp.evaluation.estimates import Estimate, estimate, intervals, quantiles
from vae_exp.evaluation.importance import importance
from vae_exp.evaluation.simulation import simulate
from vae_exp.figures import calibration
from vae_exp.inference.importance import UNRELIABLE, Importance
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.probability.streams import generator
from vae_exp.ranges import Positive

AGGREGATED = 10_000  # images at most, as their mixture takes the square of it
AGGREGATED_SLOWLY = 2_000  # if their densities are no product of matrices
HISTOGRAMS = 4  # drawn at most
LISTED = 6  # dimensions at most whose numbers are all printed
FEWEST_SAMPLES = 25  # for a tail of five weights


@dataclass(frozen=True)
class Examination:
    """All that the verdict, the table and the figure rest on."""

    variance: Tensor  # [Z] of the encoder's mean over the test images
    variance_error: Tensor  # [Z] its standard error
    kl: Tensor  # [N] in nats
    kl_per_dimension: Tensor | None  # [N, Z] in nats
    weights: Importance
    calibration: Calibration
    aggregate: Aggregate


class Trust:
    """Diagnostics of the encoder's q: a verdict in words, and the numbers that it rests on.

    Calibration is of ``simulated`` images drawn from the model, whose z is known; q is weighed as
    a proposal for the first ``images`` test images, with ``samples`` of z each; all else is of the
    test set.
    """

    name = "trust"

    def __init__(
        self, *, simulated: Positive = 10_000, images: Positive = 500, samples: Positive = 1000
    ) -> None:
        check_positive("task.simulated", simulated)
        check_positive("task.images", images)
        check_positive("task.samples", samples)
        if samples < FEWEST_SAMPLES:
            raise UserError(f"task.samples must be {FEWEST_SAMPLES} or more, got {samples}")
        self.simulated = simulated
        self.images = images
        self.samples = samples

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """A variance takes two images; raises UserError if memory cannot hold those simulated."""
        memory.require(self.simulated * 4 * model.pixels * 2, {"task.simulated": self.simulated})
        return "it needs two test images, there is 1" if len(splits.test) < 2 else None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure, one table, and the numbers with their provenance."""
        found = self.examine(model, splits.test.images, seed)
        verdict = diagnostics.verdict(found.variance, found.calibration, found.weights.pareto_k)
        numbers = {
            "verdict": verdict,
            "data": {
                "name": splits.source.name,
                "split": splits.test.name,
                "images": len(splits.test),
                "binarization": splits.binarization,
                "sha256": splits.test.sha256,
            },
            **self.numbers(found, seed),
        }
        caption = (
            splits.caption,
            f"latent dimension {model.latent_dim}",
            f"ranks and coverage: {self.simulated:,} images simulated from the model",
            f"KL: {len(splits.test):,} test images ({splits.test.origin})",
        )
        title = f"Can the encoder's q be trusted? {', '.join(verdict)}"
        return Findings(
            {self.name: figure_of(found, title, caption)},
            numbers,
            [table_of(found, verdict, splits, self.samples)],
        )

    def examine(self, model: VAE, images: Tensor, seed: int) -> Examination:
        """Compute everything; the streams are (``seed``, ...)."""
        q = diagnostics.encode(model, images)
        z, x = simulate(model, self.simulated, generator(seed, "simulate"))
        mixed = q.at(slice(AGGREGATED if isinstance(q, DiagonalGaussian) else AGGREGATED_SLOWLY))
        with Progress(
            transient=True, disable=Console().is_jupyter
        ) as bars:  # rich draws none there
            weighing = bars.add_task("samples of q", total=1.0)
            mixing = bars.add_task("aggregate posterior", total=1.0)
            return Examination(
                diagnostics.mean_variance(q),
                diagnostics.mean_variance_error(q),
                diagnostics.kl_to_prior(q, model.prior, seed),
                diagnostics.kl_per_dimension(q, model.prior),
                importance(
                    model,
                    images[: self.images],
                    (self.samples,),
                    seed=seed,
                    progress=lambda done: bars.update(weighing, completed=done),
                ),
                diagnostics.calibration(diagnostics.encode(model, x), z.cpu(), seed),
                diagnostics.aggregate(
                    mixed,
                    model.prior,
                    seed,
                    progress=lambda done: bars.update(mixing, completed=done),
                ),
            )

    def numbers(self, found: Examination, seed: int) -> dict[str, Any]:
        """For metrics.json."""
        kl = [] if found.kl_per_dimension is None else list(found.kl_per_dimension.T)
        weights, mixed = found.weights, found.aggregate
        calibrated = found.calibration
        return {
            "active_units": {
                "active": int((found.variance > ACTIVE).sum()),
                "latent_dim": len(found.variance),
                "threshold": ACTIVE,
                "variance_of_mean": found.variance.tolist(),
                "variance_of_mean_stderr": found.variance_error.tolist(),
                "images": len(found.kl),
            },
            "kl": estimate(found.kl, "KL to the prior").as_dict(),
            "kl_per_dimension": [estimate(values, "closed form").as_dict() for values in kl],
            "proposal": {
                "estimator": "importance sampling from the encoder's q",
                "images": len(weights.pareto_k),
                "samples": self.samples,
                "seed": seed,
                "effective_samples": quantiles(weights.effective_samples),
                "effective_samples_intervals": intervals(weights.effective_samples),
                "pareto_k": quantiles(weights.pareto_k),
                "pareto_k_intervals": intervals(weights.pareto_k),
                "pareto_k_above_0.7": unreliable(weights).as_dict(),
            },
            "calibration": {
                "data": "simulated from the model",
                "images": len(calibrated.mass),
                "seed": seed,
                "coverage": {
                    f"{level:g}": dict(zip(("mean", "stderr"), share, strict=True))
                    for level, share in ((p, calibrated.coverage(p)) for p in LEVELS)
                },
                "rank_histogram": calibrated.histogram().tolist(),
                "rank_uniformity_p": calibrated.uniformity().tolist(),
            },
            "aggregate": {
                "images": len(mixed.kl),
                "mean": mixed.mean.tolist(),
                "mean_stderr": mixed.mean_error.tolist(),
                "covariance": mixed.covariance.tolist(),
                "variance_stderr": mixed.variance_error.tolist(),
                **{name: value.as_dict() for name, value in divergences(found, seed).items()},
            },
        }


def divergences(found: Examination, seed: int) -> dict[str, Estimate]:
    """KL of the aggregate posterior to the prior and the mutual information, from both sides."""
    mixed = found.aggregate
    whole = found.kl[: len(mixed.kl)]
    drawn = {"samples": 1, "seed": seed}
    inside, outside = "mixture over all images", "mixture without the image's own q"
    return {
        "kl_upper": estimate(mixed.kl, inside, **drawn),
        "kl_lower": estimate(mixed.kl_left_out, outside, **drawn),
        "mutual_information_lower": estimate(whole - mixed.kl, inside, **drawn),
        "mutual_information_upper": estimate(whole - mixed.kl_left_out, outside, **drawn),
    }


def unreliable(weights: Importance) -> Estimate:
    """The share of images whose k̂ is too high."""
    return estimate((weights.pareto_k > UNRELIABLE).double(), f"share with k̂ > {UNRELIABLE}")


def table_of(found: Examination, verdict: dict[str, str], splits: Splits, samples: int) -> Table:
    """The verdict, and below it a section for each kind of evidence."""
    table = Table(title=f"Can the encoder's q be trusted? {splits.caption}", show_header=False)
    table.add_column(ratio=2)
    table.add_column(ratio=3)
    for word, reason in verdict.items():
        table.add_row(f"[bold]{word}", reason)

    table.add_section()
    test, dims = f"{len(found.kl):,} test images", len(found.variance)
    table.add_row("active units", f"{int((found.variance > ACTIVE).sum())} of {dims}, {test}")
    table.add_row(
        "variance of q's mean", listed(with_errors(found.variance, found.variance_error, 3))
    )
    table.add_row(r"KL(q(z|x) ‖ p(z))", f"{nats(estimate(found.kl, ''))} nats, {test}")
    if found.kl_per_dimension is not None:
        kl = [nats(estimate(values, "")) for values in found.kl_per_dimension.T]
        table.add_row("    per dimension", listed(kl))

    table.add_section()
    size, k = quantiles(found.weights.effective_samples), quantiles(found.weights.pareto_k)
    share, images = unreliable(found.weights), len(found.weights.pareto_k)
    table.add_row(
        f"effective samples of {samples:,}",
        f"{spread(size, 1)}, {images:,} test images",
    )
    table.add_row("Pareto k̂", spread(k, 2))
    table.add_row(f"    above {UNRELIABLE}", f"{percent(share.mean, share.stderr)} of images")

    table.add_section()
    count = len(found.calibration.mass)
    for level in LEVELS:
        table.add_row(
            f"true z in the {100 * level:.0f} % region",
            f"{percent(*found.calibration.coverage(level))}, {count:,} simulated images",
        )
    least = found.calibration.uniformity().min().item()
    of = "" if dims == 1 else f", the least of {dims} dimensions"
    shown = f"= {least:.2g}" if least > 1e-12 else "< 1e-12"
    table.add_row("test of uniform ranks", f"p {shown}{of}")

    table.add_section()
    between, mixed = divergences(found, 0), found.aggregate
    means = with_errors(mixed.mean, mixed.mean_error, 2)
    variances = with_errors(mixed.covariance.diagonal(), mixed.variance_error, 2)
    count = len(found.aggregate.kl)
    table.add_row("aggregate q(z): mean", listed(means))
    table.add_row("    variance", listed(variances))
    table.add_row("    KL to the prior", f"{between['kl_lower']} to {between['kl_upper']} nats")
    table.add_row(
        "    information on the image",
        f"{between['mutual_information_lower']} to {between['mutual_information_upper']} nats, "
        f"the lower at most log {count:,} = {math.log(count):.2f}",
    )
    return table


def nats(number: Estimate) -> str:
    """A small quantity with three digits."""
    return f"{number.mean:.3f} ± {number.stderr:.3f}"


def with_errors(values: Tensor, errors: Tensor, digits: int) -> list[str]:
    """Numbers with their standard errors."""
    pairs = zip(values.tolist(), errors.tolist(), strict=True)
    return [f"{value:.{digits}f} ± {error:.{digits}f}" for value, error in pairs]


def listed(values: list[str]) -> str:
    """A number a dimension, if they are few; else the range."""
    if len(values) <= LISTED:
        return ", ".join(values)
    ordered = sorted(values, key=lambda text: float(text.split()[0]))
    return f"from {ordered[0]} to {ordered[-1]}"


def spread(found: dict[str, float | None], digits: int) -> str:
    """A median and where the middle 90 % lie."""
    text = {k: "∞" if v is None else f"{v:.{digits}f}" for k, v in found.items()}
    return f"{text['median']} (90 %: {text['quantile_05']} to {text['quantile_95']})"


def percent(share: float, stderr: float) -> str:
    """A share with its standard error."""
    return f"{100 * share:.1f} ± {100 * stderr:.1f} %"


def figure_of(found: Examination, title: str, caption: tuple[str, ...]) -> Figure:
    """Rank histograms above; coverage against nominal and KL per dimension below."""
    calibrated = found.calibration
    count = len(calibrated.mass)
    fig = figures.figure(8.0, 6.4)
    top, below = fig.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.3))[:, 0]
    departure = calibrated.departure()
    worst = departure.topk(min(HISTOGRAMS, len(departure))).indices.sort().values.tolist()
    row = top.subplots(1, len(worst), sharey=True, squeeze=False)[0]
    for ax, dim in zip(row, worst, strict=True):
        band = diagnostics.histogram_band(count)
        label = f"rank of the true $z_{{{dim + 1}}}$ in q"
        calibration.rank_histogram(ax, calibrated.histogram()[dim], band, label=label)
    row[0].set_ylabel("simulated images", fontsize=8)
    top.legend(
        *row[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8, frameon=False
    )
    panels = 1 if found.kl_per_dimension is None else 2
    coverage, *bars = below.subplots(1, panels, width_ratios=(1, 1.3)[:panels], squeeze=False)[0]
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    calibration.coverage_curve(
        coverage,
        calibrated.mass,
        (levels, *diagnostics.coverage_band(levels, count)),
        [(level, calibrated.coverage(level)[1]) for level in LEVELS],
    )
    if found.kl_per_dimension is not None:
        kl = [estimate(values, "") for values in found.kl_per_dimension.T]
        calibration.kl_bars(
            bars[0],
            torch.tensor([number.mean for number in kl]),
            torch.tensor([number.stderr for number in kl]),
            found.variance > ACTIVE,
        )
    fig.suptitle(title, fontsize=11)
    figures.caption(fig, *caption)
    return fig
