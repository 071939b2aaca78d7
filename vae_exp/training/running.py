"""A run under Lightning: what a config's parts are put together to, and its steps."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from vae_exp import folders
from vae_exp.analysis.base import Analysis, Origin
from vae_exp.data import ImageData, ImageDataModule, Splits
from vae_exp.data.settings import check_suits
from vae_exp.errors import Damaged, UserError
from vae_exp.figures import Style
from vae_exp.models.contracts import SHAPE, Likelihood, Shape
from vae_exp.models.objectives import Compiled, Objective
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.probability.streams import stream_seed
from vae_exp.runs import saving
from vae_exp.runs.describing import describe_images
from vae_exp.runs.weights import load_weights
from vae_exp.training import board, checkpointing
from vae_exp.training import loggers as logging
from vae_exp.training.callbacks import EpochProgress, FiguresDuringTraining
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.distributed import left_at_the_end
from vae_exp.training.fitting import OptimizerFactory
from vae_exp.training.hardware import Hardware, hush_lightning
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.loggers import Loggers
from vae_exp.training.module import VAEModule
from vae_exp.training.options import COUNTING

if TYPE_CHECKING:
    from vae_exp.training.train import Train

PARTS = {
    "encoder": "encoder",
    "decoder": "decoder",
    "prior": "prior_family",
    "likelihood": "likelihood_family",
    "posterior": "posterior_family",
}  # of a VAE, by the names that freeze takes


@dataclass
class Trained:
    """A run whose steps are done."""

    task: "Train"
    module: VAEModule
    splits: Splits
    analyses: list[Analysis]
    skipped: dict[str, str]  # analyses that are not put to the model -> why
    origin: Origin
    loggers: Loggers
    checkpoints: Checkpoints
    epochs: int  # that it took
    stopped: str | None  # why it ended before its last epoch
    further: list[pl.Callback]  # that the config asks for
    style: Style  # of its figures
    console: Console

    @property
    def model(self) -> VAE:
        """What was trained."""
        return self.module.model

    @property
    def last_step(self) -> int:
        """At which the last epoch's bounds were logged."""
        return self.module.global_step - 1


def train(task: "Train", config: dict[str, Any], folder: Path, interrupts: Interrupts) -> Trained:
    """Make a run's steps, from its newest checkpoint if it has one."""
    # Whatever RANK and the like say: this process starts the others that share a run.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    console = Console()
    hardware: Hardware = build(config["trainer"], "trainer", Hardware)
    style: Style = build(config["figures"], "figures", Style) if "figures" in config else Style()
    start = checkpointing.newest(folder)
    folders.sweep_out(folder)
    data = images(config, start, hardware)
    config = with_shape(config, data.splits.shape)
    hardware.check(data)
    module = _module(task, config, hardware, start)
    module.require_memory(data, hardware.device, hardware.devices)
    analyses, skipped = _suited(task, module.model, data.splits, console)
    further = logging.callbacks(config, metrics_of(module.objective, data))
    loggers = logging.loggers(config, folder)
    if loggers.events:
        loggers.events.cut_back(start.events if start else {})
    if start:
        console.print(f"going on after step {start.step}")
    else:
        saving.write_config(folder, config)
    origin = Origin(config["seed"], task.name)
    checkpoints = _checkpoints(task, config, folder, data, loggers, interrupts)
    callbacks: list[pl.Callback] = [EpochProgress(task.epochs), *further, checkpoints]
    if task.figures_every and loggers.events:
        callbacks.append(FiguresDuringTraining(analyses, task.figures_every, origin, style))
    if start is None:
        settings = board.settings(config, folder)
        loggers.start(settings)
        if loggers.events:
            board.start(loggers.events.experiment, settings, config)
    try:
        with hardware.together(folder):
            trainer = _fit(task, hardware, module, data, loggers, callbacks, start, folder)
    except Exception as error:
        expected = isinstance(error, UserError | OSError) and not isinstance(error, Damaged)
        if start is None or expected or not checkpoints.starting:
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"cannot go on from {start.path}: {reason}") from error
    stopped = _stopped(trainer, further) if trainer.current_epoch < task.epochs else None
    return Trained(
        task,
        module,
        data.splits,
        analyses,
        skipped,
        origin,
        loggers,
        checkpoints,
        trainer.current_epoch,
        stopped,
        further,
        style,
        console,
    )


def assist(task: "Train", config: dict[str, Any], folder: Path, interrupts: Interrupts) -> None:
    """Share the steps of a run whose folder another process holds; writes no files."""
    hardware: Hardware = build(config["trainer"], "trainer", Hardware)
    start = checkpointing.newest(folder)
    data = images(config, start, hardware)
    config = with_shape(config, data.splits.shape)
    module = _module(task, config, hardware, start)
    further = logging.callbacks(config, metrics_of(module.objective, data))
    nowhere = Loggers()
    checkpoints = _checkpoints(task, config, folder, data, nowhere, interrupts)
    with left_at_the_end():
        _fit(task, hardware, module, data, nowhere, [*further, checkpoints], start, folder)


def images(
    config: dict[str, Any], start: checkpointing.Start | None, hardware: Hardware
) -> ImageData:
    """The config's images; raises UserError if a run would go on otherwise than it began."""
    if start is not None:
        start.refuse_changes(config)
    data: ImageData = build(config["data"], "data", ImageData)
    if (node := config["model"].get("likelihood")) is not None:  # other models have other parts
        likelihood: Likelihood = build(node, "model.likelihood", Likelihood)
        check_suits(data.binarization, type(likelihood).__name__, likelihood.takes)
    if start is not None:
        data = _the_same(data, start)
    if any(name in hardware.options for name in COUNTING):
        data.block_images = 1  # a block is then one of the batches that Lightning counts
    return data


def _the_same(data: ImageData, start: checkpointing.Start) -> ImageData:
    """The images that a checkpoint was trained on."""
    try:
        data = data.recalled(start.images["name"])
    except UserError as error:
        raise UserError(f"{start.path} was trained on other images: images.name {error}") from error
    if describe_images(data.splits) != start.images:
        raise UserError(
            f"{start.path} was trained on other images ({start.images['name']}) than those at hand "
            f"({data.splits.source.name}): point data.root to them, such as by VAE_EXP_DATA"
        )
    return data


def with_shape(config: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """The config with the shape of its images, by which the run is loaded without them.

    Raises UserError if it holds another one.
    """
    model = config["model"]
    given = tuple(model.get("shape", SHAPE))
    if shape == given:
        return config
    if "shape" in model:
        raise UserError(f"model.shape is that of the images, {list(shape)}, got {list(given)}")
    return {**config, "model": {**model, "shape": list(shape)}}


def metrics_of(objective: Objective, data: ImageData) -> dict[str, str]:
    """The names that a run logs, and whether ``max`` or ``min`` of each is better, if either is."""
    bounds = dict.fromkeys(("elbo", objective.name), "max")
    trained = {f"train/{name}": mode for name, mode in bounds.items()}
    if not len(data.splits.validation):
        return trained
    validated = {f"val/{name}": mode for name, mode in {**bounds, "log_likelihood": "max"}.items()}
    return {**validated, "val/kl": "", **trained}


def _module(
    task: "Train", config: dict[str, Any], hardware: Hardware, start: checkpointing.Start | None
) -> VAEModule:
    """What trains a model from the config's seed, or one with a run's or a checkpoint's weights."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(config["seed"], "weights"))
        model: VAE = build(config["model"], "model", VAE)
    if start:
        load_weights(model, start.path)
    elif task.init_from is not None:
        load_weights(model, weights_of(task.init_from))
    objective = build(config["objective"], "objective", Objective)
    if not getattr(objective, "trains_encoder", True):  # DDP waits for a gradient of each weight
        model.encoder.requires_grad_(False)
        model.posterior_family.requires_grad_(False)
    freeze(model, task.freeze)
    optimizer = build(config["optimizer"], "optimizer", OptimizerFactory)
    if hardware.compile:
        objective = Compiled(objective)
    return hardware.module(
        model, objective, optimizer, config["seed"], average_weights=task.average_weights
    )


def weights_of(spec: str) -> Path:
    """The file with the weights of a run, or a checkpoint of it, that ``init_from`` names."""
    path = folders.find(spec)
    weights = path if path.is_file() else path / folders.WEIGHTS
    if not weights.is_file():
        raise UserError(f"init_from: {path} has no {folders.WEIGHTS}: the run did not finish")
    return weights


def freeze(model: VAE, parts: tuple[str, ...]) -> None:
    """Let some parts keep their weights; raises UserError if one has none, or if none is left."""
    for name in parts:
        if name not in PARTS:
            raise UserError(f"freeze must hold some of {', '.join(PARTS)}, got {name!r}")
        part = getattr(model, PARTS[name])
        if not any(weight.requires_grad for weight in part.parameters()):
            raise UserError(f"freeze holds {name}, which has no weights that are trained")
        part.requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(f"freeze leaves nothing to train, got {', '.join(parts)}")


def _fit(
    task: "Train",
    hardware: Hardware,
    module: VAEModule,
    data: ImageData,
    loggers: Loggers,
    callbacks: list[pl.Callback],
    start: checkpointing.Start | None,
    folder: Path,
) -> pl.Trainer:
    """Train from the start, or on from a checkpoint."""
    hush_lightning()
    trainer = hardware.trainer(task.epochs, folder, loggers.all, callbacks)
    module_of = ImageDataModule(data)
    trainer.fit(module, datamodule=module_of, ckpt_path=start.path if start else None)
    return trainer


def _checkpoints(
    task: "Train",
    config: dict[str, Any],
    folder: Path,
    data: ImageData,
    loggers: Loggers,
    interrupts: Interrupts,
) -> Checkpoints:
    seen, by = describe_images(data.splits), checkpointing.settings(config)
    return Checkpoints(folder, loggers, interrupts, seen, task.checkpoint_seconds, by)


def _stopped(trainer: pl.Trainer, callbacks: list[pl.Callback]) -> str:
    """Why a run ended before its last epoch."""
    for callback in callbacks:
        reason = getattr(callback, "stopping_reason_message", None)
        if reason:
            return str(reason).removesuffix(" Signaling Trainer to stop.").rstrip(".")
    return "trainer.options.max_time was over"


def _suited(
    task: "Train", model: VAE, splits: Splits, console: Console
) -> tuple[list[Analysis], dict[str, str]]:
    """The analyses that will be put to the model, and why others are not, which it prints."""
    suited, skipped = [], {}
    for analysis in task.analyses.values():
        reason = analysis.unsuited(model, splits)
        if reason is None:
            suited.append(analysis)
        else:
            skipped[analysis.name] = reason
            told = f"{analysis.name} is skipped: {reason}"
            console.print(told, markup=False, highlight=False)
    return suited, skipped
