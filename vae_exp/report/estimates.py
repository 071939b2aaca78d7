"""Numbers of metrics.json as a person reads them: mean ± standard error, and how each was made."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from vae_exp.report.markup import Markup, table, tag

LABELS = {
    "elbo": "ELBO",
    "log_likelihood": "E[log p(x | z)]",
    "kl": "KL(q(z | x) ‖ p(z))",
    "log_p_x": "log p(x)",
}
PARTS_OF_ESTIMATES = ("mean", "stderr", "images", "estimator", "samples", "seed", "of_images")
LONGEST = 1 << 63
DIGITS = (2, 5)  # after the point, at least and at most


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a JSON file is a number, and no integer that is too long for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < LONGEST


def is_estimate(node: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a node of metrics.json is a mean, with or without an error."""
    return isinstance(node, dict) and is_number(node.get("mean"))


def shown(number: Any, digits: int = 2) -> str:
    """A number with a true minus sign; what is not finite is told in words."""
    if not is_number(number) or not math.isfinite(number):
        return "not finite" if is_number(number) else str(number)
    text = f"{number:,}" if isinstance(number, int) else f"{number:,.{digits}f}"
    return text.replace("-", "−")


def mean_and_error(estimate: Mapping[str, Any]) -> str:
    """The mean and its standard error, which has two digits that count."""
    mean, stderr = estimate["mean"], estimate.get("stderr")
    if not is_number(stderr) or not math.isfinite(stderr):
        return shown(float(mean))
    digits = 1 - math.floor(math.log10(stderr)) if stderr > 0 else DIGITS[0]
    digits = min(max(digits, DIGITS[0]), DIGITS[1])
    return f"{shown(float(mean), digits)} ± {shown(float(stderr), digits)}"


def made_by(estimate: Mapping[str, Any]) -> str:
    """How an estimate was made: its estimator, its samples, its seed."""
    samples, seed = estimate.get("samples"), estimate.get("seed")
    parts = [str(estimate.get("estimator", ""))]
    if is_number(samples):
        parts.append(f"{shown(samples)} sample{'s' if samples != 1 else ''} of z an image")
    if is_number(seed):
        parts.append(f"seed {seed}")
    return ", ".join(filter(None, parts))


def estimates_in(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every estimate at or below a node, by the words that lead to it."""
    if is_estimate(node):
        yield label(path), node
        further = {key: each for key, each in node.items() if key not in PARTS_OF_ESTIMATES}
        yield from estimates_in(further, path)
    elif isinstance(node, dict):
        for key, below in node.items():
            yield from estimates_in(below, (*path, str(key)))
    elif isinstance(node, list):
        for index, below in enumerate(node, 1):
            yield from estimates_in(below, (*path, str(index)))


def label(path: Iterable[str]) -> str:
    """A dotted place in metrics.json in words."""
    return " · ".join(LABELS.get(word, word.replace("_", " ")) for word in path)


def estimate_table(
    rows: Iterable[tuple[object, Mapping[str, Any]]], what: str, *, caption: str | None = None
) -> Markup | None:
    """A row an estimate: its name, the number, its images and how it was made; None without any."""
    lines = [
        (name, numeric(mean_and_error(found)), numeric(images_in(found)), made_by(found))
        for name, found in rows
    ]
    if not lines:
        return None
    return table((what, "mean ± standard error", "images", "how"), lines, caption=caption)


def images_in(estimate: Mapping[str, Any]) -> str:
    """How many images an estimate is of: "500 of 10,000" if it was told from a part of them."""
    counts = [estimate.get(key) for key in ("images", "of_images")]
    return " of ".join(shown(count) for count in counts if is_number(count))


def numeric(text: object) -> Markup:
    """A number in a table, whose line is not broken."""
    return tag("span", text, class_="number")
