"""One training epoch of the default model: through our Trainer, and as plain loops."""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from vae_exp.data import ImageData, ImageDataModule
from vae_exp.inference import bounds
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, Compiled
from vae_exp.models.vae import VAE
from vae_exp.runs.describing import describe_images
from vae_exp.training.callbacks import EpochProgress, QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.fitting import Objective
from vae_exp.training.hardware import Hardware, hush_lightning
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import AdamOneCycle

STEPS = "vae_exp, steps of an epoch"
WHOLE = "vae_exp, whole epoch"
LIGHTNING = "Lightning, its defaults"
FUSED = "plain loop, fused Adam"
LOADER = "plain loop, DataLoader"
EPOCHS = 4  # of a fit; the first does not count


def default_model(latent_dim: int = 2, hidden: int = 500) -> VAE:
    """The assignment's."""
    return VAE(latent_dim, Encoder((hidden,)), Decoder((hidden,)))


def now() -> float:
    """The time, when all that a GPU was told to do is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Stamps(pl.Callback):
    """When each epoch began, had made its steps, and had ended with validation and checkpoint."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.stepped: list[float] = []
        self.ended: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begun."""
        self.begun.append(now())

    def on_validation_start(self, *_: Any) -> None:
        """All steps made."""
        self.stepped.append(now())

    def on_train_epoch_end(self, *_: Any) -> None:
        """Ended: this comes after the checkpoint, whose callback is before this one."""
        self.ended.append(now())


class OurTrainer:
    """The Trainer as the command line sets it up, with its checkpoints and event files."""

    def __init__(
        self,
        data: ImageData,
        *,
        hardware: Hardware | None = None,
        objective: Objective | None = None,
        latent_dim: int = 2,
        hidden: int = 500,
    ):
        hush_lightning()
        self.data = data
        self.hardware = hardware or Hardware()
        self.objective = objective or ELBO()
        self.latent_dim = latent_dim
        self.hidden = hidden

    def __call__(self) -> Mapping[str, float]:
        """The median epoch of a fit: its steps alone, and with validation and checkpoint."""
        stamps = Stamps()
        with tempfile.TemporaryDirectory() as name, Interrupts() as interrupts:
            folder = Path(name)
            logger = QuietTensorBoard(folder)
            checkpoints = Checkpoints(folder, logger, interrupts, describe_images(self.data.splits))
            quiet = EpochProgress(EPOCHS, Console(file=io.StringIO()))
            model = default_model(self.latent_dim, self.hidden)
            objective = Compiled(self.objective) if self.hardware.compile else self.objective
            module = VAEModule(model, objective, AdamOneCycle(), seed=0)
            trainer = self.hardware.trainer(EPOCHS, folder, logger, [quiet, checkpoints, stamps])
            trainer.fit(module, datamodule=ImageDataModule(self.data))
            logger.experiment.close()
        return {
            STEPS: median_after_first(stamps.begun, stamps.stepped),
            WHOLE: median_after_first(stamps.begun, stamps.ended),
        }


def median_after_first(start: list[float], end: list[float]) -> float:
    """Median seconds between two marks of an epoch, the first left out."""
    return statistics.median(b - a for a, b in list(zip(start, end, strict=True))[1:])


class PlainModule(pl.LightningModule):
    """The model as a newcomer to Lightning would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = default_model()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Minus the ELBO, logged each step."""
        x = batch[0]
        noise = torch.randn(1, len(x), self.model.latent_dim, device=x.device)
        # Not model.loss, which looks at every pixel to refuse what is not 0 or 1.
        loss = bounds.loss(self.model.elbo_terms(x, noise).bound)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class DefaultLightning:
    """Lightning with a DataLoader that collates and a loss that is logged each step."""

    def __init__(self, images: Tensor, batch: int, accelerator: str = "cpu"):
        self.accelerator = accelerator
        self.loader = DataLoader(TensorDataset(images), batch_size=batch, shuffle=True)

    def __call__(self) -> Mapping[str, float]:
        """The median epoch of a fit."""
        begun: list[float] = []
        ended: list[float] = []

        class Marks(pl.Callback):
            def on_train_epoch_start(self, *_: Any) -> None:
                begun.append(now())

            def on_train_epoch_end(self, *_: Any) -> None:
                ended.append(now())

        with tempfile.TemporaryDirectory() as folder:
            trainer = pl.Trainer(
                accelerator=self.accelerator,
                logger=False,
                enable_checkpointing=False,
                max_epochs=EPOCHS,
                default_root_dir=folder,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[Marks()],
            )
            trainer.fit(PlainModule(), self.loader)
        return {LIGHTNING: median_after_first(begun, ended)}


class PlainLoop:
    """Batches, a loss, an optimiser's step."""

    def __init__(
        self,
        name: str,
        batches: Callable[[], Iterable[Tensor]],
        *,
        fused: bool,
        device: str = "cpu",
    ):
        self.name = name
        self.batches = batches
        self.device = device
        self.model = default_model().to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=fused)

    def __call__(self) -> Mapping[str, float]:
        """An epoch."""
        start = now()
        for x in self.batches():
            self.optimizer.zero_grad()
            noise = torch.randn(1, len(x), 2, device=self.device)
            bounds.loss(self.model.elbo_terms(x, noise).bound).backward()
            self.optimizer.step()
        return {self.name: now() - start}


def plain_fused(images: Tensor, batch: int, device: str = "cpu") -> PlainLoop:
    """Batches indexed from one tensor, and a fused Adam."""
    images = images.to(device)

    def batches() -> Iterable[Tensor]:
        return (images[part] for part in order().split(batch))

    def order() -> Tensor:
        return torch.randperm(len(images), device=device)

    return PlainLoop(FUSED, batches, fused=True, device=device)


def plain_loader(images: Tensor, batch: int) -> PlainLoop:
    """Batches collated image by image by a DataLoader, and the default Adam."""
    loader = DataLoader(TensorDataset(images), batch_size=batch, shuffle=True)
    return PlainLoop(LOADER, lambda: (x for (x,) in loader), fused=False)
