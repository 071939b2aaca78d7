"""How far is each bound from log p(x), and why? Every estimate beside the exact value."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from rich.table import Table
from torch import Tensor

from vae_exp import memory
from vae_exp.analysis.answers import Answers, sandwich_in_words
from vae_exp.analysis.bars import progress_bar
from vae_exp.analysis.base import Findings
from vae_exp.analysis.bounds_shown import (
    Beside,
    Row,
    add_row,
    agreement,
    agreement_in_words,
    bounds_table,
    exact_in_words,
    exact_numbers,
    modes_in_words,
    modes_numbers,
    numbers_of_rows,
)
from vae_exp.analysis.brackets import bracket_numbers, bracket_table
from vae_exp.analysis.gap_shown import (
    best_in_words,
    by_class,
    errors_in_words,
    gap_figure,
    gap_means,
    gap_table,
    numbers_of_best,
    which,
    worst_figure,
)
from vae_exp.data import Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation import ais, importance, modes
from vae_exp.evaluation.certificate import certificate, without_certificate
from vae_exp.evaluation.estimates import elbo_terms, estimate, require_memory
from vae_exp.evaluation.exact import MOST_DIMS, evidence, is_exact
from vae_exp.evaluation.gap import inference_gap
from vae_exp.models.vae import VAE
from vae_exp.ranges import NonNegative, Positive

Part = Literal["elbo", "exact", "iwae", "ais", "modes", "sandwich", "gap"]
WITH_EXACT: tuple[Part, ...] = ("elbo", "exact", "iwae", "ais", "gap")
WITHOUT: tuple[Part, ...] = ("elbo", "iwae", "ais", "modes", "sandwich", "gap")


class Evaluate:
    """ELBO, IWAE-k, AIS and the exact evidence of the test images, and the inference gap's parts.

    ELBO and the exact evidence are of the first ``images`` test images (null: all), IWAE-k for k
    in ``iwae`` of the first ``iwae_images``, AIS of the first ``ais_images``, importance sampling
    about the modes of the first ``modes_images``, the gap and IWAE-``long_iwae`` of the first
    ``gap_images``. From these the means of all ``images`` are told by a regression on
    the ELBO and the exact evidence. ``parts`` are what is done; null: what suits the model. With
    ``gap_flow`` a flow is fitted too, which tells whether q that bend are what the Gaussians lack.
    """

    name = "evaluate"

    def __init__(
        self,
        *,
        parts: Sequence[Part] | None = None,
        images: Positive | None = None,
        iwae: Sequence[Positive] = (1, 10, 100, 1000),
        iwae_images: Positive = 500,
        long_iwae: Positive = 5000,
        gap_images: Positive = 200,
        gap_flow: bool = False,
        ais_images: Positive = 50,
        modes_images: Positive = 200,
        sandwich_images: Positive = 20,
        elbo_samples: Positive = 16,
        certified: NonNegative = 0,
    ) -> None:
        for key, value in (
            ("task.images", 1 if images is None else images),
            ("task.iwae_images", iwae_images),
            ("task.long_iwae", long_iwae),
            ("task.gap_images", gap_images),
            ("task.ais_images", ais_images),
            ("task.modes_images", modes_images),
            ("task.sandwich_images", sandwich_images),
            ("task.elbo_samples", elbo_samples),
            *(("task.iwae", k) for k in iwae),
        ):
            check_positive(key, value)
        for part in parts or ():
            if part not in get_args(Part):
                raise UserError(
                    f"task.parts must be some of {', '.join(get_args(Part))}, got {part!r}"
                )
        if parts is not None and len(set(parts)) < len(parts):
            raise UserError(f"task.parts must name each part once, got {list(parts)}")
        if parts is not None and not parts:
            raise UserError("task.parts must name a part or be null, got none")
        self.parts = None if parts is None else tuple(parts)
        self.images = images
        self.iwae = tuple(iwae)
        self.iwae_images = iwae_images
        self.long_iwae = long_iwae
        self.gap_images = gap_images
        self.gap_flow = gap_flow
        self.ais_images = ais_images
        self.modes_images = modes_images
        self.sandwich_images = sandwich_images
        self.elbo_samples = elbo_samples
        self.certified = certified

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """None: beyond three latent dimensions two estimates stand in for the exact evidence.

        Raises UserError if memory cannot hold the images simulated, or if the exact evidence or a
        certificate is asked for and there is none.
        """
        memory.require(
            self.sandwich_images * 4 * model.pixels * memory.COPIES,
            {"task.sandwich_images": self.sandwich_images},
        )
        if "exact" in (self.parts or ()) and not is_exact(model):
            raise UserError(
                f"task.parts cannot hold exact beyond latent_dim {MOST_DIMS}, the model has "
                f"{model.latent_dim}: take ais and modes"
            )
        if self.certified and (reason := without_certificate(model)) is not None:
            raise UserError(f"task.certified must be 0, got {self.certified}: {reason}")
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """A table of the bounds; the gap by class, and the images that the encoder serves worst."""
        images = splits.test.images[: self.images]
        found = self._found(model, images, seed)
        known = [found.elbo, None if found.exact is None else found.exact.log_p_x]
        beside = Beside(
            found.truth, [k for k in known if k is not None and len(k) == len(images)], seed
        )
        test, remark = splits.test, model.likelihood_family.remark
        numbers: dict[str, Any] = {
            "data": {"split": test.name, "origin": test.origin, "sha256": test.sha256},
            "binarization": splits.binarization,
        }
        findings = Findings({}, numbers, [])
        self._show_bounds(findings, found, beside, splits, remark)
        if found.bracket is not None and found.exact is not None:
            findings.tables.append(bracket_table(found.bracket, found.exact))
            numbers["certified"] = bracket_numbers(found.bracket, found.exact)
        if found.gap is not None:
            self._show_gap(findings, found, model, images, splits, seed)
        return findings

    def _found(self, model: VAE, images: Tensor, seed: int) -> Answers:
        parts = self.parts or (WITH_EXACT if is_exact(model) else WITHOUT)
        found = Answers()
        with progress_bar() as stage:
            if "elbo" in parts:
                require_memory(model, len(images), self.elbo_samples, "task.elbo_samples")
                terms = elbo_terms(model, images, samples=self.elbo_samples, seed=seed)
                found.elbo = terms.bound.double()
            whole = "exact" in parts
            some = images if whole else images[: self.gap_images]
            if whole or ("gap" in parts and is_exact(model)) or self.certified:
                some = some if whole or "gap" in parts else images[: self.certified]
                found.exact = evidence(model, some, progress=stage("exact log p(x)"))
            if self.certified:
                few = some[: self.certified]
                found.bracket = certificate(model, few, progress=stage("certified log p(x)"))
            if "iwae" in parts:
                few, k = images[: self.iwae_images], self.long_iwae
                found.ladder = importance.iwae_ladder(
                    model, few, self.iwae, seed=seed, progress=stage("IWAE")
                )
                few = images[: self.gap_images]
                found.long = importance.iwae(model, few, k, seed=seed, progress=stage(f"IWAE-{k}"))
            if "ais" in parts:
                few = images[: self.ais_images]
                found.annealed = ais.evidence(model, few, seed=seed, progress=stage("AIS"))
            if "modes" in parts or ("gap" in parts and not is_exact(model) and "ais" not in parts):
                few = images[: self.modes_images]
                found.modes = modes.evidence(model, few, seed=seed, progress=stage("modes"))
            if "sandwich" in parts:
                self._sandwich(found, model, images, seed, stage)
            if "gap" in parts:
                few, flow, told = images[: self.gap_images], self.gap_flow, stage("inference gap")
                found.gap = inference_gap(model, few, flow=flow, seed=seed, progress=told)
        return found

    def _sandwich(self, found: Answers, model: VAE, images: Tensor, seed: int, stage: Any) -> None:
        """From both sides: images simulated from the model, and real ones if z can be drawn."""
        told = stage("AIS, both ways")
        found.simulated = ais.sandwich(model, self.sandwich_images, seed=seed, progress=told)
        drawn = found.modes
        if drawn is not None:
            few = images[: min(self.sandwich_images, len(drawn.z))][: self.ais_images]
            found.above = modes.upper_bound(
                model, few, drawn.z[: len(few)], seed=seed, progress=stage("AIS, from above")
            )

    def _show_bounds(
        self, findings: Findings, found: Answers, beside: Beside, splits: Splits, remark: str | None
    ) -> None:
        numbers, told = findings.numbers, [remark]
        rows = [
            *([] if found.elbo is None else [Row("ELBO", found.elbo, self.elbo_samples)]),
            *(Row(f"IWAE-{k}", values, k) for k, values in (found.ladder or {}).items()),
            *(
                []
                if found.long is None
                else [Row(f"IWAE-{self.long_iwae}", found.long, self.long_iwae)]
            ),
            *([] if found.annealed is None else [Row("AIS", found.annealed.log_p_x, ais.CHAINS)]),
            *([] if found.modes is None else [Row("modes", found.modes.log_p_x, modes.SAMPLES)]),
        ]
        numbers["estimates"] = numbers_of_rows(rows, beside)
        table: Table = bounds_table(rows, beside, splits.caption)
        if found.modes is not None:
            numbers["modes"] = modes_numbers(found.modes)
            told.append(modes_in_words(found.modes))
            if found.annealed is not None:
                numbers["agreement"] = agreement(found.modes, found.annealed)
                told.append(agreement_in_words(numbers["agreement"]))
        if found.simulated is not None:
            told.append(sandwich_in_words(numbers, found))
        if found.exact is not None:
            add_row(table, "exact", estimate(found.exact.log_p_x, "quadrature"))
            numbers["exact"] = exact_numbers(found.exact)
            told.append(exact_in_words(found.exact))
        table.caption = "; ".join(filter(None, told))
        if table.row_count or table.caption:
            findings.tables.append(table)

    def _show_gap(
        self,
        findings: Findings,
        found: Answers,
        model: VAE,
        images: Tensor,
        splits: Splits,
        seed: int,
    ) -> None:
        gap, truth = found.gap, found.truth
        assert gap is not None
        assert truth is not None
        log_p_x = truth.log_p_x[: self.gap_images]
        parts = gap.parts(log_p_x)
        whole = None
        if found.elbo is not None and len(truth.log_p_x) == len(images):
            whole = truth.log_p_x - found.elbo
        count = len(log_p_x) if whole is None else len(whole)
        means = gap_means(parts, by_class(splits, count), whole)
        findings.numbers["gap"] = {
            name: mean.as_dict() for name, mean in means["all"].items() if name != "whole"
        }
        findings.numbers["elbo_error"] = gap.error[: len(log_p_x)].max().item()
        findings.numbers["best_q"] = {
            name: numbers_of_best(best, log_p_x, truth.name) for name, best in gap.best.items()
        }
        table = gap_table(means, truth.name)
        errors = errors_in_words(gap, len(log_p_x))
        table.caption = f"{best_in_words(gap, log_p_x, truth.name)}; {errors}"
        findings.tables.append(table)

        def caption(shown: str, *more: str) -> tuple[str, ...]:
            told = (f"{shown} ({splits.test.origin})", model.likelihood_family.remark, *more)
            return (splits.caption, *(text for text in told if text))

        findings.figures["gap"] = gap_figure(means, truth.name, caption(which(means)))
        fitted = caption(f"first {len(log_p_x):,} test images", errors)
        findings.figures["worst_amortised"] = worst_figure(model, images, gap, parts, fitted, seed)
