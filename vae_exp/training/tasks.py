"""What a command does: train a model, put one question to a finished run, or compare several."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vae_exp import folders
from vae_exp.analysis.base import Analysis
from vae_exp.errors import UserError
from vae_exp.figures import forget_habits
from vae_exp.knobs import GROUPS
from vae_exp.parts import build
from vae_exp.runs import loading
from vae_exp.runs.looking import look
from vae_exp.surroundings import imported
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.loggers import refuse_elsewhere
from vae_exp.training.train import Train


def execute(
    config: dict[str, Any], folder: Path | None, seed_is_given: bool = True
) -> float | None:
    """Run the config's task; training returns its val/elbo, for searches over settings.

    folder: the run's, if the task trains.
    A look at a run takes the run's own seed if none is given, and renews the run's page, if it has
    one.
    """
    forget_habits()
    task = build(config["task"], "task", Callable)
    if isinstance(task, Train):
        assert folder is not None
        folders.refuse_if_used(folder)
        return task(config, folder)
    imported()
    try:
        if isinstance(task, Analysis):
            seen = look(task, config, config["seed"] if seed_is_given else None)
        else:
            seen = task(config)
        if isinstance(seen, Path) and (seen / folders.REPORT).is_file():
            from vae_exp.report import run_page  # which imports what reads event files

            run_page.written(seen, root=config["data"].get("root"))
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error
    return None


def resume(folder: Path) -> float:
    """Go on with an unfinished run, by its own config and in its own folder; returns val/elbo."""
    forget_habits()
    config, task = _recorded(folder)
    print(f"resuming {folder}", flush=True)
    return task(config, folder.resolve())


def assist(folder: Path, interrupts: Interrupts) -> None:
    """Share the steps of a run that another process has started."""
    config, task = _recorded(folder)
    task.assist(config, folder.resolve(), interrupts)


def _recorded(folder: Path) -> tuple[dict[str, Any], "Train"]:
    config = loading.read_config(folder, [*GROUPS, "seed"])
    refuse_elsewhere(config, folder)
    task = build(config["task"], "task", Callable)
    if not isinstance(task, Train):
        raise UserError(f"{folder / folders.CONFIG} has a task that does not train")
    return config, task
