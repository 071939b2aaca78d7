"""What a look at a run rests on beside its model, and what is kept and shown of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from vae_exp import folders
from vae_exp.analysis.base import Analysis, Findings, Look, Origin, look_at
from vae_exp.atomic import write_atomically
from vae_exp.data import ImageData, Splits
from vae_exp.data.settings import has_files
from vae_exp.data.splits import About
from vae_exp.errors import UserError
from vae_exp.figures import Style
from vae_exp.knobs import check_knob
from vae_exp.parts import build
from vae_exp.runs import loading, saving
from vae_exp.runs.metrics import read_metrics


def look(analysis: Analysis, config: dict[str, Any], seed: int | None) -> Path:
    """Put one analysis to a finished run and keep what it finds in the run's folder; returns it."""
    style: Style = build(config["figures"], "figures", Style)
    run = loading.load(config["run"])
    seed = own_seed(run) if seed is None else seed
    found = put(analysis, run, seed, config["data"].get("root"))
    keep(found, seed, run.folder, style)
    show(found.findings, run.folder, style, Console())
    return run.folder


def put(analysis: Analysis, run: loading.Run, seed: int, root: str | None = None) -> Look:
    """Put one analysis to a finished run, whose images lie below ``root`` if it is given.

    Raises UserError if the analysis says nothing about the run, or if the images are not at hand.
    """
    metrics = run.metrics
    known = None
    if root is None and not getattr(analysis, "needs_images", True):
        known = about(run, metrics)
    images = known or (run.splits if root is None else splits_of(run, root))
    reason = analysis.unsuited(run.model, images)
    if reason is not None:
        raise UserError(f"task={analysis.name} says nothing about {run.folder}: {reason}")
    return look_at(analysis, run.model, images, seed, origin_of(metrics, run.weights))


def own_seed(run: loading.Run) -> int:
    """The seed that a run was made with."""
    return origin_of(run.metrics, run.weights).seed


def splits_of(run: loading.Run, root: str | None = None) -> Splits:
    """The very images that a run was made with, below ``root`` if it is given.

    Raises UserError if they are not at hand.
    """
    made_with = read_metrics(run.folder).get("data")
    data = images_of(run, None if made_with is None else made_with["name"], root)
    if made_with is not None and data.splits.test.sha256 != made_with["sha256"]:
        raise UserError(
            f"{run.folder} was tested on images with sha256 {made_with['sha256'][:12]}…, those at "
            f"hand have {data.splits.test.sha256[:12]}…: point data.root to those of the run"
        )
    return data.splits


def images_of(run: loading.Run, name: str | None, root: str | None = None) -> ImageData:
    """The images that a run calls by a ``name``, of which nothing is read yet.

    Raises UserError if the run's config tells of no such images, or if they are in no folder and
    ``root`` names one.
    """
    path = run.folder / folders.CONFIG
    node = run.config.get("data")
    if not isinstance(node, dict):
        raise UserError(f"{path}: data is missing")
    try:
        data: ImageData = build(node if root is None else {**node, "root": root}, "data", ImageData)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if name is not None:
        try:
            data = data.recalled(name)
        except UserError as error:
            metrics = run.folder / folders.METRICS
            raise UserError(f"{metrics}: data.name {error}") from error
    if root is not None and not has_files(data.source):
        raise UserError(
            f"data.root is not read: {run.folder} is about images that lie in no folder, "
            f"{data.source.caption}"
        )
    return data


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


def about(run: loading.Run, metrics: Mapping[str, Any]) -> About | None:
    """What a run says of its images; None if it does not say."""
    data = metrics.get("data", {})
    if "name" not in data:
        return None
    source = images_of(run, data["name"]).source
    return About(source, str(data["binarization"]), str(data.get("trained_on", "")))


def keep(look: Look, seed: int, folder: Path, style: Style) -> dict[str, bytes]:
    """Save a look's figures and numbers in a run's folder, under its name.

    Returns what each figure's file holds.
    """
    files = {}
    for name, figure in look.findings.figures.items():
        files[name] = style.file(figure)
        write_atomically(folder, figure_file(name, style), files[name])
    paths = [str(figure_file(name, style)) for name in files]
    about_it = {"seed": seed, "settings": look.settings, "figures": paths}
    saving.add_findings(folder, look.name, {**about_it, **look.findings.numbers})
    return files


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
