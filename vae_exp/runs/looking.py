"""What a look at a run rests on beside its model, and what is kept and shown of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from vae_exp import folders
from vae_exp.analysis.base import Analysis, Findings, Look, Origin, look_at
from vae_exp.atomic import write_atomically
from vae_exp.data import DigitsDataModule, Splits
from vae_exp.data.settings import check_source
from vae_exp.data.splits import SOURCES, About
from vae_exp.errors import UserError
from vae_exp.figures import Style
from vae_exp.knobs import check_knob
from vae_exp.parts import build
from vae_exp.runs import loading, saving
from vae_exp.runs.metrics import read_metrics


def look(analysis: Analysis, config: dict[str, Any], seed: int | None) -> None:
    """Put one analysis to a finished run and keep what it finds in the run's folder."""
    console = Console()
    run = loading.load(config["run"])
    metrics = read_metrics(run.folder)
    origin = origin_of(metrics, folders.find(config["run"]))
    seed = origin.seed if seed is None else seed
    root = config["data"].get("root")
    known = about(metrics) if root is None and not getattr(analysis, "needs_images", True) else None
    images = known or splits_of(run, root)
    reason = analysis.unsuited(run.model, images)
    if reason is not None:
        raise UserError(f"task={analysis.name} says nothing about {run.folder}: {reason}")
    found = look_at(analysis, run.model, images, seed, origin)
    style: Style = build(config["figures"], "figures", Style)
    keep(found, seed, run.folder, style)
    show(found.findings, run.folder, style, console)


def splits_of(run: loading.Run, root: str | None = None) -> Splits:
    """The very images that a run was made with, below ``root`` if it is given.

    Raises UserError if they are not at hand.
    """
    path = run.folder / folders.CONFIG
    node = run.config.get("data")
    if not isinstance(node, dict):
        raise UserError(f"{path}: data is missing")
    node = node if root is None else {**node, "root": root}
    made_with = read_metrics(run.folder).get("data")
    if root is not None and made_with is not None and made_with["name"] == "digits":
        raise UserError(f"data.root is not read: {run.folder} is about the bundled digits")
    if made_with is not None:
        name = made_with["name"]
        check_source(f"{run.folder / folders.METRICS}: data.name", name)
        node = {**node, "source": name}
    try:
        data: DigitsDataModule = build(node, "data", DigitsDataModule)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    data.setup()
    if made_with is not None and data.splits.test.sha256 != made_with["sha256"]:
        raise UserError(
            f"{run.folder} was tested on images with sha256 {made_with['sha256'][:12]}…, those at "
            f"hand have {data.splits.test.sha256[:12]}…: point data.root to those of the run"
        )
    return data.splits


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
    saving.add_findings(folder, look.name, {**about_it, **look.findings.numbers})


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
