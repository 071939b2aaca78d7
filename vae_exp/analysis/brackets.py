"""Certified brackets as a table and as numbers."""

from typing import Any

import torch
from rich.table import Table

from vae_exp.evaluation.certificate import Bracket
from vae_exp.inference.lattice import Integral


def bracket_table(bracket: Bracket, exact: Integral) -> Table:
    """The certified brackets on average, and beside them the exact value of the same images."""
    count = len(bracket.lower)
    table = Table(title=f"log p(x) of the first {count:,} test images, certified, nats")
    for name in ("at least", "exact", "at most", "widest bracket"):
        table.add_column(name, justify="right")
    means = (bracket.lower.mean(), exact.log_p_x[:count].mean(), bracket.upper.mean())
    table.add_row(*(f"{mean:.4f}" for mean in means), f"{bracket.width.max():.4f}")
    return table


def bracket_numbers(bracket: Bracket, exact: Integral) -> dict[str, Any]:
    """For metrics.json: means over images, which hold for certain and have no error."""
    value, error = (part[: len(bracket.lower)] for part in (exact.log_p_x, exact.error))
    beyond = torch.maximum(bracket.lower - value, value - bracket.upper)
    return {
        "images": len(bracket.lower),
        "lower": bracket.lower.mean().item(),
        "upper": bracket.upper.mean().item(),
        "widest": bracket.width.max().item(),
        "exact_missed_by_more_than_its_error": int((beyond > error).sum()),
    }
