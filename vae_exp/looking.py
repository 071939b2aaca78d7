"""What a look at a run rests on beside its model, and what is kept and shown of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from vae_exp import folders, runs
from vae_exp.analysis.base import Findings, Look, Origin
from vae_exp.atomic import write_atomically
from vae_exp.data.splits import SOURCES, About
from vae_exp.errors import UserError
from vae_exp.figures import Style
from vae_exp.knobs import check_knob


def origin_of(metrics: Mapping[str, Any], path: Path) -> Origin:
    """What tells the run that is looked at from others; path: its folder or the weights named."""
    own = metrics.get("run", {})
    seed, name = own.get("seed", 0), own.get("name")
    if not isinstance(seed, int) or not isinstance(name, str | None):
        raise UserError(f"{path}: {folders.METRICS} has a seed or a name of the wrong type")
    check_knob("seed", seed)
    check_knob("name", name)
    named = path.is_file() and path.name != folders.WEIGHTS
    return Origin(seed, name, path.stem if named else None)


def about(metrics: Mapping[str, Any]) -> About | None:
    """What metrics.json says of a run's images; None if it does not say."""
    data = metrics.get("data", {})
    if data.get("name") not in SOURCES:
        return None
    return About(data["name"], str(data["binarization"]), str(data.get("trained_on", "")))


def keep(look: Look, seed: int, folder: Path, style: Style) -> None:
    """Save a look's figures and numbers in a run's folder, under its name."""
    files = {figure_file(name, style): fig for name, fig in look.findings.figures.items()}
    for path, figure in files.items():
        write_atomically(folder, path, style.file(figure))
    about_it = {"seed": seed, "settings": look.settings, "figures": [str(path) for path in files]}
    runs.add_findings(folder, look.name, {**about_it, **look.findings.numbers})


def show(findings: Findings, folder: Path, style: Style, console: Console) -> None:
    """Print an analysis's tables and where its figures are."""
    for table in findings.tables:
        console.print(table)
    show_figures(findings, folder, style, console)


def show_figures(findings: Findings, folder: Path, style: Style, console: Console) -> None:
    """Print where figures are, a line each."""
    for name in findings.figures:
        path = folders.shown(folder / figure_file(name, style))
        console.print(path, soft_wrap=True, markup=False, highlight=False)


def figure_file(name: str, style: Style) -> Path:
    """Where a figure lies in a run's folder."""
    return Path(folders.FIGURES, f"{name}.{style.format}")
