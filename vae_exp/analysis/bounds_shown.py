"""Bounds on log p(x) and estimates of it as a table and as numbers, each beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from torch import Tensor

from vae_exp.evaluation.estimates import Estimate, estimate
from vae_exp.evaluation.subsets import Regression
from vae_exp.inference.ais import Annealed
from vae_exp.inference.lattice import Integral
from vae_exp.inference.modes import AtModes

FAR = 4  # combined standard errors, beyond which two estimates of one number disagree


@dataclass(frozen=True)
class Row:
    """One estimator: its values on the first images of the test set."""

    estimator: str
    values: Tensor  # [n] in nats
    samples: int | None = None


@dataclass(frozen=True)
class Truth:
    """The best that is known of log p(x) of the first images [n], and what it is called."""

    log_p_x: Tensor
    name: str


@dataclass(frozen=True)
class Beside:
    """What the rows are told by: the truth, and what is known of all images [N] each."""

    truth: Truth | None
    known: Sequence[Tensor]
    seed: int

    def mean(self, row: Row) -> Estimate:
        """Of an estimator over all images, even if it was put to the first of them only."""
        law = Regression(row.values, self.known)
        return law.mean(row.estimator, samples=row.samples, seed=self.seed)

    def below_truth(self, row: Row) -> Estimate | None:
        """What it lacks to the truth, image by image; None if that is unknown."""
        if self.truth is None or self.truth.name == row.estimator:
            return None
        count = min(len(self.truth.log_p_x), len(row.values))
        short = self.truth.log_p_x[:count].double() - row.values[:count].double()
        name = f"{self.truth.name} − {row.estimator}, paired"
        return Regression(short, self.known).mean(name)


def numbers_of_rows(rows: Sequence[Row], beside: Beside) -> dict[str, Any]:
    """The rows for metrics.json."""
    numbers = {}
    for row in rows:
        short = beside.below_truth(row)
        more = {} if short is None else {"below_truth": short.as_dict()}
        numbers[row.estimator] = {**beside.mean(row).as_dict(), **more}
    return numbers


def bounds_table(rows: Sequence[Row], beside: Beside, caption: str) -> Table:
    """Each estimate with its standard error over images, and its distance from the truth."""
    table = Table(title=f"log p(x) in nats per image: test set, {caption}")
    table.add_column("estimator")
    for name in ("images", "mean", "± s.e."):
        table.add_column(name, justify="right")
    if beside.truth is not None:
        table.add_column(f"{beside.truth.name} − it, same images", justify="right")
    for row in rows:
        add_row(table, row.estimator, beside.mean(row), beside.below_truth(row))
    return table


def add_row(table: Table, name: str, mean: Estimate, short: Estimate | None = None) -> None:
    """A mean with its error; "500 of 10,000" if it was told from a part of the images."""
    images = f"{mean.images:,}"
    if mean.of_images is not None:
        images += f" of {mean.of_images:,}"
    cells = [name, images, f"{mean.mean:.2f}", mean.error]
    if len(table.columns) > len(cells):
        cells.append("" if short is None else f"{short.mean:.3f} ± {short.stderr:.3f}")
    table.add_row(*cells)


def exact_numbers(exact: Integral) -> dict[str, Any]:
    """The exact evidence for metrics.json."""
    return {
        **estimate(exact.log_p_x, "quadrature").as_dict(),
        "error_by": error_by(exact),
        "largest_error": exact.error.max().item(),
        "tolerance": exact.tolerance,
        "images_beyond_tolerance": int((~exact.converged).sum()),
    }


def exact_in_words(exact: Integral) -> str:
    """How exact the exact evidence is."""
    missed, count = int((~exact.converged).sum()), len(exact.log_p_x)
    return (
        f"exact to {exact.error.max():.0e} nats an image, by {error_by(exact)}; "
        f"{missed} of {count:,} miss the tolerance of {exact.tolerance:g}"
    )


def error_by(exact: Integral) -> str:
    """How the error of the exact evidence was found."""
    return "random shifts of the points" if exact.estimated else "halving the lattice's step"


def modes_numbers(modes: AtModes) -> dict[str, Any]:
    """How far importance sampling about the modes is to be trusted, for metrics.json."""
    return {
        "images": len(modes.log_p_x),
        "images_not_trusted": int((~modes.trusted).sum()),
        "median_error": modes.error.median().item(),
        "largest_error": modes.error.max().item(),
    }


def modes_in_words(modes: AtModes) -> str:
    """The same for a person."""
    doubtful, count = int((~modes.trusted).sum()), len(modes.log_p_x)
    told = f"modes: single images to {modes.error.median():.2g} nats, at most"
    told += f" {modes.error.max():.2g}"
    return told + (f"; k̂ > 0.7, so a bound only, for {doubtful:,} of {count:,}" if doubtful else "")


def agreement(modes: AtModes, annealed: Annealed) -> dict[str, Any]:
    """Do two estimators that share nothing give the same log p(x)? Of the images that both saw."""
    count = min(len(modes.log_p_x), len(annealed.log_p_x))
    apart = modes.log_p_x[:count] - annealed.log_p_x[:count]
    both = (modes.error[:count].square() + annealed.error[:count].square()).sqrt()
    far = (apart.abs() > FAR * both) & modes.trusted[:count]
    return {
        "modes_minus_ais": estimate(apart, "modes − AIS, paired").as_dict(),
        "images": count,
        "disagree": far.nonzero().flatten().tolist(),
        "largest": apart[apart.abs().argmax()].item(),
    }


def agreement_in_words(found: dict[str, Any]) -> str:
    """The same for a person: disagreement is said, with the images' numbers."""
    mean, far = found["modes_minus_ais"], found["disagree"]
    told = f"modes − AIS {mean['mean']:.3f} ± {mean['stderr']:.3f} on {found['images']:,} images"
    if not far:
        return f"{told}, none further apart than {FAR} errors"
    named = ", ".join(map(str, far[:8])) + (", …" if len(far) > 8 else "")
    return f"{told}; they DISAGREE by more than {FAR} errors on {len(far):,}: {named}"
