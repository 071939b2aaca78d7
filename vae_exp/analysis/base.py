"""The contract of an analysis, and what it hands back."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from matplotlib.figure import Figure
from rich.table import Table

from vae_exp.data import Splits
from vae_exp.models.vae import VAE


@dataclass(frozen=True)
class Findings:
    """What an analysis found.

    ``figures`` are saved as figures/NAME.png and shown in TensorBoard; ``numbers`` are plain
    containers that go into metrics.json; ``tables`` are printed.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)


@runtime_checkable
class Analysis(Protocol):
    """A question put to a trained model; the same object serves the command line and training."""

    name: str

    def unsuited(self, model: VAE) -> str | None:
        """Why this analysis says nothing about this model, or None where it does."""
        ...

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """Answer it; all randomness comes from ``seed``."""
        ...
