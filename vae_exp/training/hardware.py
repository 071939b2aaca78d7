"""What a run trains on, and the Trainer for it."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies import Strategy

from vae_exp.data import ImageData
from vae_exp.errors import UserError, check_positive
from vae_exp.training.checkpoint_io import AtomicIO
from vae_exp.training.module import VAEModule


class Hardware:
    """What a run trains on, as Lightning names it."""

    module: type[VAEModule] = VAEModule
    several = False  # devices

    def __init__(self, accelerator: str = "cpu", devices: int = 1, compile: bool = False):
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

    @property
    def device(self) -> torch.device:
        """Of the first process."""
        on_gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return torch.device("cuda" if on_gpu else "cpu")

    def strategy(self) -> str | Strategy:
        """How the devices work together."""
        return "auto"

    def check(self, data: ImageData) -> None:
        """Raise UserError if the devices cannot share the batches."""

    def together(self, folder: Path) -> AbstractContextManager[None]:
        """While entered, all processes of a run are at work."""
        return nullcontext()

    def trainer(
        self, epochs: int, folder: Path, logger: TensorBoardLogger, callbacks: list[pl.Callback]
    ) -> pl.Trainer:
        """A Trainer that does nothing per step but step."""
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            strategy=self.strategy(),
            max_epochs=epochs,
            default_root_dir=folder,
            logger=logger,
            callbacks=callbacks,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            # Else SLURM_NTASKS, RANK and the like would let it look for a cluster.
            plugins=[AtomicIO(), LightningEnvironment()],
        )
