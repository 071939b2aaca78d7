"""What a run came to: its numbers, its answers to every analysis, and what is shown of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from vae_exp import folders
from vae_exp.analysis.base import Look, answer, tell_skipped
from vae_exp.data import Splits
from vae_exp.errors import UserError
from vae_exp.report import run_page
from vae_exp.runs import saving
from vae_exp.runs.describing import describe_data, describe_model, test_numbers
from vae_exp.runs.looking import keep, show_figures
from vae_exp.runs.metrics import MASS, scores_of, write_metrics
from vae_exp.runs.weights import save_weights
from vae_exp.shell import program
from vae_exp.training import board
from vae_exp.training.evidence import LOG_P_X, ExactEvidence
from vae_exp.training.running import Trained


def numbers(trained: Trained, seed: int) -> dict[str, Any]:
    """The contents of metrics.json, but for the analyses."""
    task, splits, model = trained.task, trained.splits, trained.model
    metrics = {
        "run": {
            "name": task.name,
            "seed": seed,
            "epochs": task.epochs,
            "skipped": trained.skipped,
            **saving.provenance(),
        },
        "data": describe_data(splits, splits.test),
        "model": describe_model(model),
        "test": test_numbers(model, splits.test, seed),
    }
    if len(splits.validation):
        metrics["validation"] = {
            **describe_best(trained),
            **test_numbers(model, splits.validation, seed),
        }
    if trained.stopped is not None:
        metrics["run"]["stopped"] = {"epoch": trained.epochs, "reason": trained.stopped}
    if task.init_from is not None:
        metrics["run"]["init_from"] = task.init_from
    metrics["run"]["wall_seconds"] = round(trained.checkpoints.elapsed, 2)
    return metrics


def write(trained: Trained, metrics: dict[str, Any], folder: Path) -> None:
    """Leave the numbers in the run's folder, and with its loggers."""
    write_metrics(folder, metrics)
    tested = {f"{board.TEST}/{name}": metrics["test"][name]["mean"] for name in board.TERMS}
    trained.loggers.end(tested, trained.last_step)
    if trained.loggers.events:
        board.end(trained.loggers.events.experiment, metrics, trained.last_step)
        board.project(folder, trained.model, trained.splits.test)


def answers(trained: Trained, seed: int, folder: Path) -> list[Look]:
    """Put every analysis to the model, and keep what it finds."""
    looks = []
    for name, put in _asked(trained, seed):
        with trained.console.status(name):
            found = put()
        if isinstance(found, Look):
            found = _kept(name, found, trained, seed, folder)
        if isinstance(found, str):
            saving.add_skipped(folder, name, found)
        else:
            looks.append(found)
    return looks


def _asked(trained: Trained, seed: int) -> Iterator[tuple[str, Callable[[], Look | str]]]:
    """What callbacks found while training, and then every analysis."""
    for callback in trained.further:
        if isinstance(callback, ExactEvidence):
            findings = callback.findings(replace(trained.splits, run=trained.task.name))
            yield callback.name, partial(Look, callback.name, {}, findings)
    for analysis in trained.analyses:
        yield (
            analysis.name,
            partial(answer, analysis, trained.model, trained.splits, seed, trained.origin),
        )


def _kept(name: str, look: Look, trained: Trained, seed: int, folder: Path) -> Look | str:
    """A look that the run's folder and TensorBoard have, or why a figure of it cannot be drawn."""
    style = trained.style
    try:
        pictures = keep(look, seed, folder, style)
        if trained.loggers.events:
            if style != style.of_screens():
                figures = look.findings.figures.items()
                pictures = {name: style.of_screens().file(figure) for name, figure in figures}
            writer = trained.loggers.events.experiment
            board.add_figures(writer, pictures, trained.last_step)
    except (OSError, UserError):  # of the disk, which stops the run
        raise
    except Exception as error:  # noqa: BLE001
        return tell_skipped(name, error)
    return look


def finish(trained: Trained, folder: Path) -> None:
    """Save the weights, which mark a finished run."""
    if trained.loggers.events:
        trained.loggers.events.experiment.close()
    save_weights(trained.model, folder / folders.WEIGHTS)


def show(
    trained: Trained,
    metrics: dict[str, Any],
    looks: list[Look],
    folder: Path,
) -> None:
    """Print the numbers, what the analyses found in brief, and where the figures are."""
    console = trained.console
    if trained.stopped is not None:
        line = f"stopped after epoch {trained.epochs} of {trained.task.epochs}: {trained.stopped}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if "validation" not in metrics:
        console.print(board.UNJUDGED, markup=False, highlight=False, soft_wrap=True)
    console.print(summary(metrics, trained.splits, folder))
    for look in looks:
        if look.findings.brief is not None:
            console.print(look.findings.brief)
    for look in looks:
        show_figures(look.findings, folder, trained.style, console)
    if trained.loggers.events:
        curves = program("tensorboard", "--logdir", folders.shown(folder.parent))
        console.print(curves, soft_wrap=True, markup=False)


def report(trained: Trained, folder: Path) -> None:
    """Write the page of a finished run and print where it is, or put down why there is none."""
    page = run_page.written(folder, trained.splits)
    if isinstance(page, str):
        saving.add_skipped(folder, "report", page)
    else:
        trained.console.print(folders.shown(page), soft_wrap=True, markup=False, highlight=False)


def describe_best(trained: Trained) -> dict[str, Any]:
    """What chose the best epoch, a bound or log p(x) of validation images, and how high it was."""
    objective, value = trained.module.objective, trained.checkpoints.best
    best: dict[str, Any] = {"by": trained.module.judge, "value": value}
    if trained.module.judge == LOG_P_X:
        [watch] = [each for each in trained.further if isinstance(each, ExactEvidence)]
        return {"best": {**best, **watch.best()}}
    best |= {"estimator": objective.estimator, "samples": objective.samples}
    # Its name from before another bound could be trained.
    return {"best": best, **({"best_elbo": value} if objective.name == "elbo" else {})}


def summary(metrics: dict[str, Any], splits: Splits, folder: Path) -> Table:
    """The table at the end of a run."""
    table = Table(title=f"test set: {len(splits.test):,} images, {splits.caption}")
    scores = scores_of(metrics)
    table.add_column("nats per image" + ("" if scores == MASS else f", of a {scores}"))
    table.add_column("mean", justify="right")
    table.add_column("± standard error over images", justify="right")
    for name, label in (
        ("elbo", "ELBO"),
        ("log_likelihood", r"E\[log p(x|z)]"),
        ("kl", "KL(q(z|x) ‖ p(z))"),
    ):
        number = metrics["test"][name]
        table.add_row(label, f"{number['mean']:.2f}", f"{number['stderr']:.2f}")
    name = metrics["run"]["name"]
    table.caption = escape(f"{name}: {folders.shown(folder)}" if name else folders.shown(folder))
    return table
