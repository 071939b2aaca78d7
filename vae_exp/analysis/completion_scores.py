"""Scores of completions as numbers and as a table: a value that is only a bound says so."""

from typing import Any

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from vae_exp.evaluation.completion import (
    DIAGONAL,
    ENCODER,
    EXACT,
    FULL,
    TWO_PROPOSALS,
    Score,
)
from vae_exp.evaluation.estimates import estimate
from vae_exp.inference.importance import UNRELIABLE, bound_of, doubtful, sign_of

LABELS = {FULL: "full q, SVI", DIAGONAL: "diagonal q, SVI", ENCODER: "encoder, hidden = 0"}


def score_numbers(score: Score) -> dict[str, Any]:
    """A score for metrics.json: of one image, or means over several with standard errors.

    If ``bound`` is not None few z carry the mean: the value is a "lower" or an "upper" bound, or
    "neither", and has no error.
    """
    numbers = value_numbers(score.log_p_hidden, score.error, score.higher, score.lower)
    numbers = {"log_p_hidden" if key == "value" else key: n for key, n in numbers.items()}
    numbers["trusted"] = (~doubtful(score.pareto_k)).double().mean().item()
    if score.kl.isnan().any():
        return numbers
    higher = score.kl_error.isinf()
    kl = value_numbers(score.kl, score.kl_error, higher, torch.zeros_like(higher))
    named = {"value": "kl", "error": "kl_error", "largest_error": "kl_largest_error"}
    return numbers | {named.get(key, f"kl_{key}"): number for key, number in kl.items()}


def value_numbers(values: Tensor, error: Tensor, higher: Tensor, lower: Tensor) -> dict[str, Any]:
    """The value of one image, or the mean over several, its error, and whether it is a bound."""
    bound = bound_of(bool(higher.any()), bool(lower.any()))
    numbers: dict[str, Any]
    if len(values) == 1:
        numbers = {"value": values.item(), "error": error.item(), "bound": bound}
    else:
        mean = estimate(values, "mean over images").as_dict()
        numbers = {"value": mean, "largest_error": error.max().item(), "bound": bound}
        if bound is not None:
            del mean["stderr"]
    return {key: n for key, n in numbers.items() if bound is None or not key.endswith("error")}


def score_table(scored: dict[str, Score], subject: str, samples: int) -> Table:
    """Every method's log p(hidden | visible), how far it is from the first, and each q's KL."""
    reference, best = next(iter(scored.items()))
    many = len(best.error) > 1
    title = f"log p(hidden | visible) in nats, {subject}"
    table = Table(title=title, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading in ("mean" if many else "value", f"− {reference[-5:]}", "KL", f"k̂ > {UNRELIABLE}"):
        table.add_column(heading, justify="right")
    for name, score in scored.items():
        doubt = doubtful(score.pareto_k).double().mean().item()
        apart = score.log_p_hidden - best.log_p_hidden
        sides = score.higher | best.lower, score.lower | best.higher
        table.add_row(
            LABELS.get(name, name),
            cell(score.log_p_hidden, score.error, score.higher, score.lower),
            "" if score is best else cell(apart, score.error + best.error, *sides),
            "" if score.kl.isnan().any() else kl_cell(score),
            "" if name == EXACT else f"{doubt:.0%}" if many else "yes" if doubt else "no",
        )
    table.caption = (
        f"± {'standard error over images' if many else 'Monte Carlo standard error'}. KL is from "
        f"q to p(z | visible). A q's value is log of the mean of p(hidden | z) over {samples:,} "
        "z ~ q; importance weighs each by p(z, visible) / q(z). If k̂ > 0.7 a few z carry the "
        "mean: it is a bound (≥, ≤; ? if neither) and has no ±. A mode that no z fell into shows "
        "in no k̂."
    )
    if reference == TWO_PROPOSALS:
        table.caption += (
            " Beyond three latent dimensions nothing is exact: log p(x) − log p(visible), each by "
            "importance sampling from a q of its own, stands in."
        )
    return table


def cell(values: Tensor, error: Tensor, higher: Tensor, lower: Tensor) -> str:
    """A value ± its own error, or the mean of several ± its standard error over images.

    A number that is a bound has a sign before it and no ±.
    """
    sign = sign_of(bool(higher.any()), bool(lower.any()))
    if sign:
        text = f"{sign}{values.mean().item():.2f}"
    elif len(values) > 1:
        text = str(estimate(values, ""))
    else:
        text = f"{values.item():.2f} ± {error.item():.2f}"
    return text.replace("-", "−")


def kl_cell(score: Score) -> str:
    """KL(q ‖ p(z | visible)), which is a lower bound if log p(visible) is one."""
    higher = score.kl_error.isinf()
    return cell(score.kl, score.kl_error, higher, torch.zeros_like(higher))
