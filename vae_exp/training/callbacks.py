"""What happens beside training: a bar or a line an epoch, event files, pictures."""

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vae_exp import files
from vae_exp.analysis.base import Analysis, Look, Origin, answer
from vae_exp.atomic import sync, write_atomically
from vae_exp.data import ImageDataModule
from vae_exp.figures import Style
from vae_exp.folders import EVENTS, within
from vae_exp.training import board
from vae_exp.training.module import VAEModule


class QuietTensorBoard(TensorBoardLogger):
    """Event files in the run's own folder, without Lightning's hparams.yaml and hp_metric."""

    def __init__(self, folder: Path):
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self.folder = folder
        threading.excepthook = _leave_to_flush

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers; raises OSError if they cannot be written, which Lightning would hide."""
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)

    def save(self) -> None:
        """Write out what is pending."""
        self.experiment.flush()

    def finalize(self, status: str) -> None:
        """Stay open after training: the figures are still to come."""
        if status == "success":
            self.save()

    def sizes(self) -> dict[str, int]:
        """The length of each event file in bytes, with all that was logged on the disk."""
        self.save()
        sizes = {}
        for path in self.folder.glob(EVENTS):
            with path.open("rb") as file:
                sync(file.fileno())
                sizes[path.name] = os.fstat(file.fileno()).st_size
        return sizes

    def cut_back(self, sizes: Mapping[str, int]) -> None:
        """Before anything is logged: take back what was logged after ``sizes`` were taken."""
        for path in self.folder.glob(EVENTS):
            if path.name not in sizes:
                path.unlink()
                continue
            with files.opened(within(self.folder, path.name)) as file:
                longer = os.fstat(file.fileno()).st_size > sizes[path.name]
                kept = file.read(sizes[path.name]) if longer else b""
            if longer:  # a copy: the file may have a second name, out of this folder
                write_atomically(self.folder, path.name, kept)


def _leave_to_flush(failure: threading.ExceptHookArgs) -> None:
    """Report a thread's failure, but not that of the event file's: the next flush raises it."""
    of_the_event_file = type(failure.thread).__module__.startswith("tensorboard.")
    if not (of_the_event_file and isinstance(failure.exc_value, OSError)):
        threading.__excepthook__(failure)


class EpochProgress(pl.Callback):
    """A bar over all steps with the bounds on a terminal; elsewhere at most ten lines a run."""

    def __init__(self, epochs: int, console: Console | None = None):
        self.epochs = epochs
        self.console = console or Console(file=sys.stdout)
        self.every = max(1, epochs // 10)
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, from where a resumed run goes on."""
        if not self.console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
        )
        assert isinstance(pl_module, VAEModule)
        self.task = self.bar.add_task(
            "training", total=pl_module.total_steps, completed=trainer.global_step
        )
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the bounds of this epoch."""
        assert isinstance(pl_module, VAEModule)
        epoch = trainer.current_epoch + 1
        bounds = {name: value.item() for name, value in trainer.callback_metrics.items()}
        name = pl_module.objective.name
        trained = name.replace("_", "-").upper()
        text = f"epoch {epoch}/{self.epochs}  {trained} train {bounds[f'train/{name}']:.2f}"
        if f"val/{name}" in bounds:
            text += f", validation {bounds[f'val/{name}']:.2f}"
            if name != "elbo":
                text += f"; ELBO validation {bounds['val/elbo']:.2f}"
        text += "".join(f"; {told}" for told in _told(trainer))
        if self.bar is not None:
            self.bar.update(self.task, description=text)
        elif not self.console.is_terminal and (epoch % self.every == 0 or epoch == self.epochs):
            self.console.print(text, highlight=False, soft_wrap=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put the terminal back, also after an exception."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _told(trainer: pl.Trainer) -> list[str]:
    """What callbacks tell of this epoch, those that tell anything."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [each.told for each in callbacks if hasattr(each, "told")]


class FiguresDuringTraining(pl.Callback):
    """Puts analyses to the model every few epochs; TensorBoard gets a slider over them."""

    def __init__(self, analyses: Sequence[Analysis], every: int, origin: Origin, style: Style):
        self.analyses = analyses
        self.every = every
        self.origin = origin
        self.style = style.of_screens()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if it is this epoch's turn; the last epoch's are drawn at the end of the run."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every or epoch == trainer.max_epochs:
            return
        assert isinstance(pl_module, VAEModule)
        module: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        for analysis in self.analyses:
            with pl_module.averaged():
                look = answer(
                    analysis, pl_module.model, module.data.splits, pl_module.seed, self.origin
                )
            if isinstance(look, Look):
                writer = trainer.logger.experiment  # type: ignore[union-attr]
                figures = look.findings.figures.items()
                pictures = {name: self.style.file(figure) for name, figure in figures}
                board.add_figures(writer, pictures, trainer.global_step - 1)
