"""Checkpoints from which a run goes on as if it had never stopped, and never a torn one."""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Checkpoint

from vae_exp import runs
from vae_exp.atomic import copy_atomically
from vae_exp.callbacks import QuietTensorBoard
from vae_exp.errors import UserError
from vae_exp.folders import CHECKPOINTS
from vae_exp.interrupts import Interrupts
from vae_exp.schema import SCHEMA

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.ckpt"
TORN = ".torn"


class Checkpoints(Checkpoint):
    """Saves at the end of each epoch, after ``seconds`` without, and where a signal asks to stop.

    last.ckpt is the newest, previous.ckpt the one before it, best.ckpt the newest with the highest
    val/elbo. Each tells how long the run has taken, which images it saw, by which settings it was
    trained, and how long its event files were. A signal ends the block of steps under way and
    raises Interrupted.
    """

    def __init__(
        self,
        folder: Path,
        logger: QuietTensorBoard,
        interrupts: Interrupts,
        images: dict[str, Any],
        seconds: float = 30.0,
        settings: dict[str, Any] | None = None,
    ):
        self.folder = folder
        self.checkpoints = folder / CHECKPOINTS
        self.logger = logger
        self.interrupts = interrupts
        self.images = images
        self.settings = settings or {}
        self.seconds = seconds
        self.best = -math.inf
        self._earlier = 0.0
        self._started = self._saved = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since this was made, and those of the run before it was stopped."""
        return self._earlier + time.monotonic() - self._started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on a signal waits for the end of a block of steps."""
        self._saved = time.monotonic()
        # Lightning has taken SIGTERM: between two hooks it would end the process with exit code 0.
        self.interrupts.install()
        self.interrupts.deferred = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save where it is time to, but not in the last step, which its epoch's end follows."""
        if trainer.is_last_batch:
            return
        due = bool(self.interrupts.pending) or time.monotonic() - self._saved >= self.seconds
        # Saving takes all processes, whose clocks differ: the first decides.
        if trainer.strategy.reduce_boolean_decision(due and trainer.is_global_zero, all=False):
            self._save(trainer, best=False)
            self.interrupts.check()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, also as the best where it is."""
        elbo = trainer.callback_metrics["val/elbo"].item()
        better = elbo > self.best
        self.best = max(elbo, self.best)
        self._save(trainer, best=better)
        self.interrupts.check()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on a signal is obeyed at once."""
        self.interrupts.deferred = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a resumed run needs to know beside Lightning's own."""
        checkpoint[runs.KEY] = {
            "schema": SCHEMA,
            "best": self.best,
            "seconds": self.elapsed,
            "images": self.images,
            "settings": self.settings,
            "events": self.logger.sizes() if trainer.is_global_zero else {},
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from there."""
        self.best = checkpoint[runs.KEY]["best"]
        self._earlier = checkpoint[runs.KEY]["seconds"]

    def _save(self, trainer: pl.Trainer, best: bool) -> None:
        last = self.checkpoints / LAST
        if trainer.is_global_zero and last.exists():
            copy_atomically(last, self.checkpoints / PREVIOUS)
        # The best first: a kill in between leaves an older last.ckpt, which leads here again.
        trainer.save_checkpoint(self.checkpoints / BEST if best else last, weights_only=False)
        if best and trainer.is_global_zero:
            copy_atomically(self.checkpoints / BEST, last)
        self._saved = time.monotonic()


@dataclass(frozen=True)
class Start:
    """A checkpoint to go on from."""

    path: Path
    contents: dict[str, Any]

    @property
    def step(self) -> int:
        """How many steps were taken until then."""
        return int(self.contents["global_step"])

    @property
    def events(self) -> dict[str, int]:
        """How long the event files were."""
        return dict(self.contents[runs.KEY]["events"])

    @property
    def images(self) -> dict[str, Any]:
        """Which images the run saw."""
        return dict(self.contents[runs.KEY]["images"])

    def refuse_changes(self, cfg: DictConfig) -> None:
        """Raise UserError if the config trains otherwise than the run was trained until then.

        Where the images lie, the trainer and the task, but for its epochs, may have changed.
        """
        before = dict(_dotted(self.contents[runs.KEY].get("settings", {})))
        for key, value in _dotted(settings(cfg)):
            if before.get(key, value) != value:
                raise UserError(
                    f"{key} was {before[key]} when {self.path} was saved and is {value} in the "
                    "run's config: put it back, or start a new run"
                )


def settings(cfg: DictConfig) -> dict[str, Any]:
    """What decides, beside the images, which weights training comes to."""
    found: dict[str, Any] = {"seed": cfg.seed, "epochs": cfg.task.epochs}
    for group in ("data", "model", "objective", "optimizer"):
        found[group] = OmegaConf.to_container(cfg[group], resolve=True)
    for where in ("root", "source"):
        found["data"].pop(where, None)
    return found


def _dotted(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested containers by their dotted keys."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def newest(folder: Path) -> Start | None:
    """A run's newest whole checkpoint; None where there is none.

    A torn one is named on stderr and set aside. Raises UserError where one is not to be trusted, or
    of a newer schema.
    """
    for name in (LAST, PREVIOUS, BEST):
        path = folder / CHECKPOINTS / name
        if not path.exists():
            continue
        try:
            contents = runs.load_checkpoint(path)
        except runs.Damaged as error:
            path.replace(path.with_name(name + TORN))
            print(f"{error}; set aside as {name}{TORN}, going on before it", file=sys.stderr)
            continue
        if runs.KEY not in contents:
            raise UserError(f"{path} was not made by this package: nothing tells how to go on")
        return Start(path, contents)
    return None


def kept(folder: Path) -> str:
    """What is left of a run that failed, in words."""
    found = _last_good(folder)
    return f"the last good checkpoint is {found}" if found else "it has no checkpoint yet"


def way_on(folder: Path) -> str:
    """What is left of a run that was stopped, and what goes on with it, in words."""
    if not folder.exists():
        return "its folder is gone, and its checkpoints with it"
    ending = f", from which resume={folder} goes on"
    return kept(folder) + (ending if _last_good(folder) else f": resume={folder} starts again")


def _last_good(folder: Path) -> Path | None:
    paths = (folder / CHECKPOINTS / name for name in (LAST, PREVIOUS))
    return next((path for path in paths if path.exists()), None)
