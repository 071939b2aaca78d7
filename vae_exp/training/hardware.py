"""What a run trains on, and the Trainer for it; Lightning is imported when one is made."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_exp.errors import UserError, check_positive
from vae_exp.models.vae import VAE
from vae_exp.training import options as trainer_options
from vae_exp.training.fitting import Clip, Objective, OptimizerFactory

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger
    from pytorch_lightning.strategies import Strategy

    from vae_exp.data import ImageData
    from vae_exp.training.module import VAEModule

VARIABLES = "PL_TRAINER_"  # by which Lightning lets the environment set what nobody gave


class Hardware:
    """What a run trains on, as Lightning names it, and further options of Lightning's Trainer."""

    several = False  # devices

    def __init__(
        self,
        accelerator: str = "cpu",
        devices: int = 1,
        compile: bool = False,
        options: Mapping[str, Any] | None = None,
    ):
        if accelerator not in ("cpu", "gpu", "auto"):
            raise UserError(f"trainer.accelerator must be cpu, gpu or auto, got {accelerator!r}")
        check_positive("trainer.devices", devices)
        if devices > 1 and not self.several:
            raise UserError(f"trainer.devices above 1 needs trainer=ddp, got {devices}")
        if accelerator == "gpu" and not torch.cuda.is_available():
            raise UserError("trainer.accelerator=gpu needs a GPU that torch can use: trainer=cpu")
        self.accelerator = accelerator
        self.devices = devices
        self.compile = compile
        self.options = trainer_options.checked(options)

    @property
    def device(self) -> torch.device:
        """Of the first process."""
        on_gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return torch.device("cuda" if on_gpu else "cpu")

    @property
    def clip(self) -> Clip | None:
        """What is done to the gradients before a step."""
        if "gradient_clip_val" not in self.options:
            return None
        value, by = self.options["gradient_clip_val"], self.options.get("gradient_clip_algorithm")
        return Clip(value, by or "norm")

    def module(
        self,
        model: VAE,
        objective: Objective,
        optimizer: OptimizerFactory,
        seed: int,
        average_weights: float = 0.0,
    ) -> "VAEModule":
        """What trains a model on these devices."""
        return self.kind()(model, objective, optimizer, seed, self.clip, average_weights)

    def kind(self) -> "type[VAEModule]":
        """The class of what trains a model."""
        from vae_exp.training.module import VAEModule

        return VAEModule

    def strategy(self) -> "str | Strategy":
        """How the devices work together."""
        return "auto"

    def check(self, data: "ImageData") -> None:
        """Raise UserError if the devices cannot share the batches."""

    def together(self, folder: Path) -> AbstractContextManager[None]:
        """While entered, all processes of a run are at work."""
        return nullcontext()

    def trainer(
        self,
        epochs: int,
        folder: Path,
        logger: "Logger | Sequence[Logger]",
        callbacks: "list[pl.Callback]",
    ) -> "pl.Trainer":
        """A Trainer that does nothing per step but step; the environment sets nothing of it."""
        import pytorch_lightning as pl
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler

        from vae_exp.training.checkpoint_io import AtomicIO

        # Under manual optimisation the Trainer refuses to clip: the module does.
        options = {k: v for k, v in self.options.items() if not k.startswith("gradient_clip")}
        if "profiler" in options:
            profiler = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
            options["profiler"] = profiler[options["profiler"]](folder, "profile")
        # Else convolutions of float32 numbers would round them to ten bits on a GPU.
        torch.backends.cudnn.allow_tf32 = False
        with _without(VARIABLES):
            return pl.Trainer(
                accelerator=self.accelerator,
                devices=self.devices,
                strategy=self.strategy(),
                max_epochs=epochs,
                default_root_dir=folder,
                logger=list(logger) if isinstance(logger, Sequence) else logger,
                callbacks=callbacks,
                num_sanity_val_steps=0,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                # Else SLURM_NTASKS, RANK and the like would let it look for a cluster.
                plugins=[AtomicIO(), LightningEnvironment()],
                **options,
            )


@contextmanager
def _without(prefix: str) -> Iterator[None]:
    """While entered, no variable of the environment begins with the prefix."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(hidden)


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
