"""What a command does: train a model, put one question to a finished run, or compare several."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from vae_exp import board, checkpointing, evaluation, folders, runs
from vae_exp.analysis.base import Analysis, Findings
from vae_exp.atomic import write_atomically
from vae_exp.building import build
from vae_exp.callbacks import EpochProgress, FiguresDuringTraining, QuietTensorBoard
from vae_exp.checkpointing import Checkpoints
from vae_exp.data import DigitsDataModule, Split, Splits
from vae_exp.distributed import Lost
from vae_exp.errors import Damaged, UserError
from vae_exp.figures import png
from vae_exp.interrupts import Interrupted, Interrupts
from vae_exp.knobs import GROUPS
from vae_exp.model import VAE
from vae_exp.networks import check_positive
from vae_exp.objectives import Compiled
from vae_exp.ranges import NonNegative, NonNegativeNumber, Positive
from vae_exp.seeding import stream_seed
from vae_exp.training import Hardware, VAEModule
from vae_exp.watch import Diverged


def execute(cfg: DictConfig) -> float | None:
    """Run the config's task; training returns its val/elbo, for searches over settings."""
    task = build(cfg.task)
    if isinstance(task, Train):
        folder = Path(HydraConfig.get().runtime.output_dir)
        folders.refuse_if_used(folder)
        return task(cfg, folder)
    try:
        if isinstance(task, Analysis):
            look(task, cfg)
        else:
            task(cfg)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error
    return None


def resume(folder: Path) -> float:
    """Go on with an unfinished run, by its own config and in its own folder; returns val/elbo."""
    config = runs.read_config(folder, GROUPS)
    task = build(config.task)
    if not isinstance(task, Train):
        raise UserError(f"{folder / folders.CONFIG} has a task that does not train")
    print(f"resuming {folder}", flush=True)
    return task(config, folder.resolve())


def look(analysis: Analysis, cfg: DictConfig) -> None:
    """Put one analysis to a finished run and keep what it finds in the run's folder."""
    console = Console()
    run = runs.load(cfg.run)
    reason = analysis.unsuited(run.model)
    if reason is not None:
        raise UserError(f"task={analysis.name} says nothing about {run.folder}: {reason}")
    root = OmegaConf.to_container(cfg, resolve=False)["data"]["root"]  # type: ignore
    if not str(root).startswith("${"):  # given on the command line
        run.config.data.root = root
    splits = splits_of(run)
    findings = analysis(run.model, splits, cfg.seed)
    keep(findings, analysis.name, cfg.seed, run.folder)
    show(findings, run.folder, console)


def splits_of(run: runs.Run) -> Splits:
    """The very images that a run was made with; raises UserError where they are not at hand."""
    made_with = runs.read_metrics(run.folder).get("data")
    if made_with is not None:
        run.config.data.source = made_with["name"]
    data: DigitsDataModule = build(run.config.data)
    data.setup()
    if made_with is not None and data.splits.test.sha256 != made_with["sha256"]:
        raise UserError(
            f"{run.folder} was tested on images with sha256 {made_with['sha256'][:12]}…, those at "
            f"hand have {data.splits.test.sha256[:12]}…: point data.root to those of the run"
        )
    return data.splits


class Train:
    """Train, report the test ELBO, save the weights, and put every analysis to the model."""

    def __init__(
        self,
        epochs: Positive,
        analyses: Mapping[str, Analysis],
        figures_every: NonNegative = 0,
        checkpoint_seconds: NonNegativeNumber = 30.0,
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

    def __call__(self, cfg: DictConfig, folder: Path) -> float:
        """Run the whole job in a folder, from its newest checkpoint; returns val/elbo at its end.

        The weights are saved last, so that they are the mark of a finished run. Raises Interrupted
        where a signal stopped it, and UserError where the disk or the numbers did.
        """
        with folders.hold(folder), Interrupts() as interrupts:
            try:
                return self._run(cfg, folder, interrupts)
            except Interrupted as stop:
                raise Interrupted(stop.signum, folder) from None
            except (Diverged, Lost) as error:
                raise UserError(f"{error}; {checkpointing.kept(folder)}") from error
            except OSError as error:
                raise UserError(
                    f"{error.filename or folder}: {error.strerror}; {checkpointing.kept(folder)}, "
                    f"from which resume={folder} goes on"
                ) from error

    def _run(self, cfg: DictConfig, folder: Path, interrupts: Interrupts) -> float:
        console = Console()
        hardware: Hardware = build(cfg.trainer)
        start = checkpointing.newest(folder)
        folders.sweep_out(folder)
        data = images(cfg, start)
        hardware.check(data)
        logger = QuietTensorBoard(folder)
        logger.cut_back(start.events if start else {})
        if start:
            console.print(f"going on after step {start.step}")
        checkpoints = Checkpoints(
            folder, logger, interrupts, describe_images(data.splits), self.checkpoint_seconds
        )
        try:
            with hardware.together(folder):
                module = self._fit(cfg, hardware, data, logger, checkpoints, start)
        except Exception as error:
            expected = isinstance(error, UserError | OSError) and not isinstance(error, Damaged)
            if start is None or expected or not checkpoints.starting:
                raise
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"cannot go on from {start.path}: {reason}") from error
        if folders.is_helper():
            return checkpoints.best

        metrics = {
            "run": {
                "seed": cfg.seed,
                "epochs": self.epochs,
                **runs.provenance(),
            },
            "data": describe_data(data.splits, data.splits.test),
            "model": describe_model(module.model),
            "validation": {
                "best_elbo": checkpoints.best,
                **test_numbers(module.model, data.splits.validation, cfg.seed),
            },
            "test": test_numbers(module.model, data.splits.test, cfg.seed),
        }
        metrics["run"]["wall_seconds"] = round(checkpoints.elapsed, 2)
        runs.write_metrics(folder, metrics)
        board.end(logger.experiment, metrics, module.global_step)
        board.project(folder, module.model, data.splits.test)
        for analysis in self.analyses.values():
            if analysis.unsuited(module.model) is None:
                with console.status(analysis.name):
                    findings = analysis(module.model, data.splits, cfg.seed)
                keep(findings, analysis.name, cfg.seed, folder)
                board.add_figures(logger.experiment, findings.figures, self.epochs)
        logger.experiment.close()
        runs.save_weights(module.model, folder / folders.WEIGHTS)
        console.print(summary(metrics, data.splits, folder))
        console.print(f"tensorboard --logdir {folders.shown(folder.parent)}", soft_wrap=True)
        return float(metrics["validation"]["elbo"]["mean"])

    def _fit(
        self,
        cfg: DictConfig,
        hardware: Hardware,
        data: DigitsDataModule,
        logger: QuietTensorBoard,
        checkpoints: Checkpoints,
        start: checkpointing.Start | None,
    ) -> VAEModule:
        """Train a model from the config's seed, or on from a checkpoint."""
        hush_lightning()
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(cfg.seed, "weights"))
            model: VAE = build(cfg.model)
        if start:
            runs.load_weights(model, start.path)
        objective = build(cfg.objective)
        if hardware.compile:
            objective = Compiled(objective)
        module = hardware.module(model, objective, build(cfg.optimizer), cfg.seed)
        callbacks: list[pl.Callback] = [EpochProgress(self.epochs), checkpoints]
        if self.figures_every and not folders.is_helper():
            callbacks.append(FiguresDuringTraining(self.analyses, self.figures_every))
        trainer = hardware.trainer(self.epochs, checkpoints.folder, logger, callbacks)
        if start is None and not folders.is_helper():
            board.start(logger.experiment, board.settings(cfg, checkpoints.folder), cfg)
        trainer.fit(module, datamodule=data, ckpt_path=start.path if start else None)
        return module


def images(cfg: DictConfig, start: checkpointing.Start | None) -> DigitsDataModule:
    """The config's images; raises UserError where a resumed run would see others than before."""
    data: DigitsDataModule = build(cfg.data)
    data.setup()
    if start is None:
        return data
    if data.splits.source != start.images["name"] and cfg.data.source == "auto":
        cfg.data.source = start.images["name"]
        data = build(cfg.data)
        data.setup()
    if describe_images(data.splits) != start.images:
        raise UserError(
            f"{start.path} was trained on other images ({start.images['name']}) than those at hand "
            f"({data.splits.source}): point data.root to them, such as by VAE_EXP_DATA"
        )
    return data


def describe_images(splits: Splits) -> dict[str, Any]:
    """Which images a run trains on, validates on and tests on."""
    parts = (splits.train, splits.validation, splits.test)
    return {"name": splits.source, **{part.name: part.sha256 for part in parts}}


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


def test_numbers(model: VAE, split: Split, seed: int) -> dict[str, Any]:
    """The ELBO and its two terms over a whole split, with standard errors."""
    terms = evaluation.elbo_terms(model.eval(), split.images, samples=1, seed=seed)
    sampled = {"samples": 1, "seed": seed}
    return {
        "elbo": evaluation.estimate(terms.bound, "ELBO, KL in closed form", **sampled).as_dict(),
        "kl": evaluation.estimate(terms.kl, "closed form").as_dict(),
        "log_likelihood": evaluation.estimate(
            terms.log_likelihood, "Monte Carlo", **sampled
        ).as_dict(),
    }


def describe_data(splits: Splits, split: Split) -> dict[str, Any]:
    """Which images a number is about."""
    return {
        "name": splits.source,
        "split": split.name,
        "images": len(split),
        "origin": split.origin,
        "binarization": splits.binarization,
        "sha256": split.sha256,
        "notice": splits.notice,
    }


def describe_model(model: VAE) -> dict[str, Any]:
    """What a model is made of."""
    return {
        "latent_dim": model.latent_dim,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def keep(findings: Findings, name: str, seed: int, folder: Path) -> None:
    """Save an analysis's figures and numbers in a run's folder."""
    for figure_name, figure in findings.figures.items():
        write_atomically(folder, Path(folders.FIGURES, f"{figure_name}.png"), png(figure))
    runs.add_findings(folder, name, {"seed": seed, **findings.numbers})


def show(findings: Findings, folder: Path, console: Console) -> None:
    """Print an analysis's tables and where its figures are."""
    for table in findings.tables:
        console.print(table)
    for name in findings.figures:
        console.print(str(folder / folders.FIGURES / f"{name}.png"), soft_wrap=True)


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
    table.caption = folders.shown(folder)
    return table
