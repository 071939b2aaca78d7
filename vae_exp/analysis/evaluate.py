"""How far is each bound from log p(x), and why? Every estimate beside the exact value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from torch import Tensor

from vae_exp import memory
from vae_exp.analysis.bars import progress_bar
from vae_exp.analysis.base import Findings
from vae_exp.analysis.brackets import bracket_numbers, bracket_table
from vae_exp.analysis.gap_shown import (
    best_in_words,
    by_class,
    gap_figure,
    gap_table,
    numbers_of_best,
    worst_figure,
)
from vae_exp.data import Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation import ais, importance
from vae_exp.evaluation.certificate import certificate, without_certificate
from vae_exp.evaluation.estimates import elbo_terms, estimate, require_memory
from vae_exp.evaluation.exact import evidence, is_exact
from vae_exp.evaluation.gap import inference_gap
from vae_exp.inference.lattice import Integral
from vae_exp.models.vae import VAE
from vae_exp.ranges import NonNegative, Positive


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
        remark = model.likelihood_family.remark
        sandwich = "; ".join(filter(None, (remark, sandwich)))
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
        caption = (splits.caption, f"first {counted:,} test images ({test.origin})", remark)
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
