"""Train a model, test it, save it, and put every analysis to it."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vae_exp import folders
from vae_exp.analysis.base import Analysis, Origin, answer
from vae_exp.data import DigitsDataModule, Splits
from vae_exp.data.settings import check_source
from vae_exp.errors import Damaged, UserError, check_positive
from vae_exp.figures import Style
from vae_exp.models.objectives import Compiled
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.probability.streams import stream_seed
from vae_exp.ranges import NonNegative, NonNegativeNumber, Positive
from vae_exp.runs import saving
from vae_exp.runs.describing import describe_data, describe_images, describe_model, test_numbers
from vae_exp.runs.looking import keep, show_figures
from vae_exp.runs.metrics import write_metrics
from vae_exp.runs.weights import load_weights, save_weights
from vae_exp.shell import program
from vae_exp.training import board, checkpointing
from vae_exp.training.callbacks import EpochProgress, FiguresDuringTraining, QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.distributed import Lost, left_at_the_end
from vae_exp.training.fitting import Objective, OptimizerFactory
from vae_exp.training.hardware import Hardware
from vae_exp.training.interrupts import Interrupted, Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.watch import Diverged


class Train:
    """Train, report the test ELBO, save the weights, and put every analysis to the model.

    An analysis that says nothing about such a model or such images, or that fails, is skipped.
    """

    def __init__(
        self,
        epochs: Positive,
        analyses: Mapping[str, Analysis],
        figures_every: NonNegative = 0,
        checkpoint_seconds: NonNegativeNumber = 30.0,
        name: str | None = None,
    ):
        check_positive("epochs", epochs)
        if figures_every < 0:
            raise UserError(f"task.figures_every must be 0 or more, got {figures_every}")
        if not checkpoint_seconds >= 0:
            raise UserError(f"task.checkpoint_seconds must be 0 or more, got {checkpoint_seconds}")
        self.epochs = epochs
        self.analyses = analyses
        self.figures_every = figures_every
        self.checkpoint_seconds = checkpoint_seconds
        self.name = name

    def __call__(self, config: dict[str, Any], folder: Path) -> float:
        """Run the whole job in a folder, from its newest checkpoint; returns val/elbo at its end.

        The weights are saved last, so that they are the mark of a finished run. Raises Interrupted
        if a signal stopped it, and UserError if the disk or the numbers did. The caller holds
        the folder.
        """
        with Interrupts() as interrupts:
            try:
                return self._run(config, folder, interrupts)
            except Interrupted as stop:
                raise Interrupted(stop.signum, folder) from None
            except Diverged as error:
                raise UserError(f"{error}; {checkpointing.kept(folder)}") from error
            except Lost as error:
                raise UserError(f"{error}; {checkpointing.way_on(folder)}") from error
            except OSError as error:
                raise UserError(
                    f"{error.filename or folder}: {error.strerror}; {checkpointing.way_on(folder)}"
                ) from error

    def assist(self, config: dict[str, Any], folder: Path, interrupts: Interrupts) -> None:
        """Share the steps of a run whose folder another process holds; writes no files."""
        hardware: Hardware = build(config["trainer"], "trainer", Hardware)
        start = checkpointing.newest(folder)
        data = images(config, start)
        logger = QuietTensorBoard(folder)
        checkpoints = self._checkpoints(config, folder, data, logger, interrupts)
        module = self._module(config, hardware, start)
        with left_at_the_end():
            self._fit(hardware, module, data, logger, [checkpoints], start)

    def _run(self, config: dict[str, Any], folder: Path, interrupts: Interrupts) -> float:
        # Whatever RANK and the like say: this process starts the others that share a run.
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        console = Console()
        hardware: Hardware = build(config["trainer"], "trainer", Hardware)
        start = checkpointing.newest(folder)
        folders.sweep_out(folder)
        data = images(config, start)
        hardware.check(data)
        module = self._module(config, hardware, start)
        module.require_memory(data, hardware.device, hardware.devices)
        logger = QuietTensorBoard(folder)
        logger.cut_back(start.events if start else {})
        if start:
            console.print(f"going on after step {start.step}")
        else:
            saving.write_config(folder, config)
        seed = config["seed"]
        analyses, skipped = self._suited(module.model, data.splits, console)
        checkpoints = self._checkpoints(config, folder, data, logger, interrupts)
        origin = Origin(seed, self.name)
        callbacks: list[pl.Callback] = [EpochProgress(self.epochs), checkpoints]
        if self.figures_every:
            callbacks.append(FiguresDuringTraining(analyses, self.figures_every, origin))
        if start is None:
            board.start(logger.experiment, board.settings(config, folder), config)
        try:
            with hardware.together(folder):
                self._fit(hardware, module, data, logger, callbacks, start)
        except Exception as error:
            expected = isinstance(error, UserError | OSError) and not isinstance(error, Damaged)
            if start is None or expected or not checkpoints.starting:
                raise
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"cannot go on from {start.path}: {reason}") from error

        metrics = {
            "run": {
                "name": self.name,
                "seed": seed,
                "epochs": self.epochs,
                "skipped": skipped,
                **saving.provenance(),
            },
            "data": describe_data(data.splits, data.splits.test),
            "model": describe_model(module.model),
            "validation": {
                **describe_best(module, checkpoints.best),
                **test_numbers(module.model, data.splits.validation, seed),
            },
            "test": test_numbers(module.model, data.splits.test, seed),
        }
        metrics["run"]["wall_seconds"] = round(checkpoints.elapsed, 2)
        write_metrics(folder, metrics)
        last_step = module.global_step - 1  # at which the last epoch's bounds were logged
        board.end(logger.experiment, metrics, last_step)
        board.project(folder, module.model, data.splits.test)
        style = build(config["figures"], "figures", Style) if "figures" in config else Style()
        looks = []
        for analysis in analyses:
            with console.status(analysis.name):
                found = answer(analysis, module.model, data.splits, seed, origin)
            if isinstance(found, str):
                saving.add_skipped(folder, analysis.name, found)
                continue
            looks.append(found)
            keep(found, seed, folder, style)
            board.add_figures(logger.experiment, found.findings.figures, last_step)
        logger.experiment.close()
        save_weights(module.model, folder / folders.WEIGHTS)
        console.print(summary(metrics, data.splits, folder))
        for findings in (look.findings for look in looks):
            if findings.brief is not None:
                console.print(findings.brief)
        for findings in (look.findings for look in looks):
            show_figures(findings, folder, style, console)
        curves = program("tensorboard", "--logdir", folders.shown(folder.parent))
        console.print(curves, soft_wrap=True, markup=False)
        return float(metrics["validation"]["elbo"]["mean"])

    def _fit(
        self,
        hardware: Hardware,
        module: VAEModule,
        data: DigitsDataModule,
        logger: QuietTensorBoard,
        callbacks: list[pl.Callback],
        start: checkpointing.Start | None,
    ) -> None:
        """Train from the start, or on from a checkpoint."""
        hush_lightning()
        trainer = hardware.trainer(self.epochs, logger.folder, logger, callbacks)
        trainer.fit(module, datamodule=data, ckpt_path=start.path if start else None)

    def _checkpoints(
        self,
        config: dict[str, Any],
        folder: Path,
        data: DigitsDataModule,
        logger: QuietTensorBoard,
        interrupts: Interrupts,
    ) -> Checkpoints:
        seen, by = describe_images(data.splits), checkpointing.settings(config)
        return Checkpoints(folder, logger, interrupts, seen, self.checkpoint_seconds, by)

    def _module(
        self, config: dict[str, Any], hardware: Hardware, start: checkpointing.Start | None
    ) -> VAEModule:
        """What trains a model from the config's seed, or one with a checkpoint's weights."""
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(config["seed"], "weights"))
            model: VAE = build(config["model"], "model", VAE)
        if start:
            load_weights(model, start.path)
        objective = build(config["objective"], "objective", Objective)
        optimizer = build(config["optimizer"], "optimizer", OptimizerFactory)
        if hardware.compile:
            objective = Compiled(objective)
        return hardware.module(model, objective, optimizer, config["seed"])

    def _suited(
        self, model: VAE, splits: Splits, console: Console
    ) -> tuple[list[Analysis], dict[str, str]]:
        """The analyses that will be put to the model, and why others are not, which it prints."""
        suited, skipped = [], {}
        for analysis in self.analyses.values():
            reason = analysis.unsuited(model, splits)
            if reason is None:
                suited.append(analysis)
            else:
                skipped[analysis.name] = reason
                told = f"{analysis.name} is skipped: {reason}"
                console.print(told, markup=False, highlight=False)
        return suited, skipped


def images(config: dict[str, Any], start: checkpointing.Start | None) -> DigitsDataModule:
    """The config's images; raises UserError if a run would go on otherwise than it began."""
    if start is not None:
        start.refuse_changes(config)
    data: DigitsDataModule = build(config["data"], "data", DigitsDataModule)
    data.setup()
    if start is None:
        return data
    name = start.images["name"]
    check_source(f"{start.path}: images.name", name)
    if data.splits.source != name and data.source == "auto":
        data = build({**config["data"], "source": name}, "data", DigitsDataModule)
        data.setup()
    if describe_images(data.splits) != start.images:
        raise UserError(
            f"{start.path} was trained on other images ({start.images['name']}) than those at hand "
            f"({data.splits.source}): point data.root to them, such as by VAE_EXP_DATA"
        )
    return data


def hush_lightning() -> None:
    """Leave the terminal to the progress of training: Lightning's tips are not for the user."""
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.accelerators.cuda",
        "lightning_fabric.utilities.distributed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    for category in (UserWarning, FutureWarning):
        warnings.filterwarnings("ignore", module="pytorch_lightning", category=category)


def describe_best(module: VAEModule, value: float) -> dict[str, Any]:
    """The highest bound of an epoch on the validation images, and which bound it is."""
    objective = module.objective
    best = {
        "by": module.judge,
        "value": value,
        "estimator": objective.estimator,
        "samples": objective.samples,
    }
    # Its name from before another bound could be trained.
    return {"best": best, **({"best_elbo": value} if objective.name == "elbo" else {})}


def summary(metrics: dict[str, Any], splits: Splits, folder: Path) -> Table:
    """The table at the end of a run."""
    table = Table(title=f"test set: {len(splits.test):,} images, {splits.caption}")
    table.add_column("nats per image")
    table.add_column("mean", justify="right")
    table.add_column("± standard error", justify="right")
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
