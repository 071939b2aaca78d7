"""Checkpoints from which a run goes on as if it had never stopped, and never a torn one."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.optim import Optimizer

from vae_exp.atomic import copy_atomically
from vae_exp.errors import Damaged, Torn, UserError
from vae_exp.folders import CHECKPOINTS, within
from vae_exp.runs.upgrade import upgraded_config
from vae_exp.runs.weights import KEY, load_place
from vae_exp.schema import SCHEMA
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.options import DECIDING

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.ckpt"
TORN = ".torn"


class Events(Protocol):
    """What knows the event files of a run."""

    def sizes(self) -> dict[str, int]:
        """The length of each, with all that was logged on the disk."""
        ...


class Checkpoints(Checkpoint):
    """Saves at the end of each epoch, after ``seconds`` without, and if a signal asks to stop.

    last.ckpt is the newest, previous.ckpt the one before it, best.ckpt the newest with the highest
    validation bound of the kind that is trained, such as val/iwae_50: if no images validate, there
    is no best. Each tells which bound that is, how long the run has taken, which images it saw, by
    which settings it was trained, and how long its event files were. A signal ends the block of
    steps under way and raises Interrupted.
    """

    def __init__(
        self,
        folder: Path,
        logger: Events,
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
        self.starting = False  # whether Lightning sets up what it loads, and no step is taken yet
        self.stopped = False  # whether the epoch that was saved last was to be the last
        self._earlier = 0.0
        self._started = self._saved = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since this was made, and those of the run before it was stopped."""
        return self._earlier + time.monotonic() - self._started

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """What fails from now to the first step is laid on the checkpoint."""
        self.starting = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on a signal waits for the end of a block of steps."""
        for optimizer in trainer.optimizers:
            refuse_odd_state(optimizer)
        self._saved = time.monotonic()
        trainer.should_stop = trainer.should_stop or self.stopped
        # Lightning has taken SIGTERM: between two hooks it would end the process with exit code 0.
        self.interrupts.install()
        self.interrupts.deferred = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save if it is time to, but not in the last step, which its epoch's end follows."""
        self.starting = False
        if trainer.is_last_batch:
            return
        due = bool(self.interrupts.pending) or time.monotonic() - self._saved >= self.seconds
        # Saving takes all processes, whose clocks differ: the first decides.
        if trainer.strategy.reduce_boolean_decision(due and trainer.is_global_zero, all=False):
            self._save(trainer, best=False)
            self.interrupts.check()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, also as the best if it is."""
        assert isinstance(pl_module, VAEModule)
        better = False
        if pl_module.validates:
            bound = trainer.callback_metrics[pl_module.judge].item()
            better = bound > self.best
            self.best = max(bound, self.best)
        self.stopped = trainer.should_stop
        self._save(trainer, best=better)
        self.interrupts.check()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on a signal is obeyed at once."""
        self.interrupts.deferred = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a resumed run needs to know beside Lightning's own."""
        assert isinstance(pl_module, VAEModule)
        checkpoint[KEY] = {
            "schema": SCHEMA,
            "best": self.best,
            "best_by": pl_module.judge,
            "seconds": self.elapsed,
            "stopped": self.stopped,
            "images": self.images,
            "settings": self.settings,
            "events": self.logger.sizes() if trainer.is_global_zero else {},
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from there; a best by another bound is none."""
        assert isinstance(pl_module, VAEModule)
        ours = checkpoint[KEY]
        if ours.get("best_by", pl_module.judge) == pl_module.judge:
            self.best = ours["best"]
        self._earlier = ours["seconds"]
        self.stopped = ours.get("stopped") is True

    def _save(self, trainer: pl.Trainer, best: bool) -> None:
        last = self.checkpoints / LAST
        if trainer.is_global_zero and last.exists():
            self._copy(LAST, PREVIOUS)
        # The best first: a kill in between leaves an older last.ckpt, which leads here again.
        trainer.save_checkpoint(self.checkpoints / BEST if best else last, weights_only=False)
        if best and trainer.is_global_zero:
            self._copy(BEST, LAST)
        self._saved = time.monotonic()

    def _copy(self, source: str, name: str) -> None:
        copy_atomically(self.folder, Path(CHECKPOINTS, source), Path(CHECKPOINTS, name))


def refuse_odd_state(optimizer: Optimizer) -> None:
    """Raise Damaged if an optimiser has loaded what does not fit its parameters.

    A fused step does not look: it would read and write beyond a tensor that is too small.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, Tensor):
                continue
            if name == "step":
                fits = value.numel() == 1 and value.is_floating_point()
            else:
                fits = value.shape == parameter.shape and value.dtype == parameter.dtype
                fits = fits and value.stride() == parameter.stride()
            if not fits or not value.isfinite().all():
                raise Damaged(
                    f"{name} of the optimiser is {list(value.shape)} of {value.dtype}, or not "
                    f"finite, for a weight of {list(parameter.shape)}"
                )


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
        return dict(self.contents[KEY]["events"])

    @property
    def images(self) -> dict[str, Any]:
        """Which images the run saw."""
        return dict(self.contents[KEY]["images"])

    def refuse_changes(self, config: Mapping[str, Any]) -> None:
        """Raise UserError if the config trains otherwise than the run was trained until then.

        Where the images lie, the device, the loggers and how often is saved may have changed.
        """
        saved = upgraded_config(self.contents[KEY].get("settings", {}))
        before, now = dict(_dotted(saved)), dict(_dotted(settings(config)))
        added = [key for key in now if key.startswith("callbacks.") and "callbacks" in saved]
        for key in [*before, *added]:
            was, value = before.get(key), now.get(key)
            if was != value and (key in now or key.startswith("callbacks.")):
                raise UserError(
                    f"{key} was {was} when {self.path} was saved and is {value} in the "
                    "run's config: put it back, or start a new run"
                )


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides, beside the images, which weights training comes to."""
    task, options = config["task"], config["trainer"].get("options") or {}
    found: dict[str, Any] = {
        "seed": config["seed"],
        "epochs": task["epochs"],
        "freeze": list(task.get("freeze", ())),
        "average_weights": task.get("average_weights", 0.0),
        "trainer": {"options": {name: options.get(name) for name in DECIDING}},
    }
    for group in ("data", "model", "objective", "optimizer", "callbacks"):
        found[group] = dict(config.get(group, {}))
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
    """A run's newest whole checkpoint; None if there is none.

    A torn one is named on stderr and set aside. Raises UserError if one is not to be trusted, or
    of a newer schema.
    """
    for name in (LAST, PREVIOUS, BEST):
        path = within(folder, Path(CHECKPOINTS, name))
        if not path.exists():
            continue
        try:
            contents = load_place(path)
        except Torn as error:
            path.replace(path.with_name(name + TORN))
            print(f"{error}; set aside as {name}{TORN}, going on before it", file=sys.stderr)
            continue
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
