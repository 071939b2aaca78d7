"""The contract of an analysis, and what it hands back."""

import sys
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from matplotlib.figure import Figure
from rich.table import Table

from vae_exp.data import Splits
from vae_exp.errors import UserError
from vae_exp.model import VAE


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

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """Why it says nothing about this model or these images, or None; asked before training."""
        ...

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """Answer it; all randomness comes from ``seed``."""
        ...


def answer(analysis: Analysis, model: VAE, splits: Splits, seed: int) -> Findings | None:
    """What an analysis finds; if it fails, None after a line on stderr: no training is lost."""
    try:
        return analysis(model, splits, seed)
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [""])[0]
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        print(f"{analysis.name} is skipped: {kind}{reason}", file=sys.stderr)
        return None
