"""What Lightning does around a step, done once for a block of minibatches.

It takes 0.6 ms, a tenth of a step of the default model (docs/performance.md). What a step is stands
in `module`.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from vae_exp import memory
from vae_exp.data import Block, EpochBatches, ImageData, Share
from vae_exp.errors import UserError
from vae_exp.models.vae import VAE, Terms
from vae_exp.training.fitting import Objective
from vae_exp.training.watch import Diverged

TRAINED, TERMS = "train", ("elbo", "log_likelihood", "kl")


class BoundMeter(nn.Module):
    """Sums of a bound and its terms over the images seen, kept where the model is."""

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(4, dtype=torch.float64))

    def add(self, terms: Terms) -> None:
        """Count in a batch of terms [B]."""
        parts = (terms.bound, terms.log_likelihood, terms.kl)
        self.sums[:3] += torch.stack([part.detach().sum() for part in parts])
        self.sums[3] += len(terms.bound)

    def means(self) -> dict[str, Tensor]:
        """The means per image of what was added, and a fresh start."""
        bound, log_likelihood, kl = self.sums[:3] / self.sums[3]
        self.sums = torch.zeros_like(self.sums)
        return {"bound": bound, "log_likelihood": log_likelihood, "kl": kl}


class BlockModule(pl.LightningModule, ABC):
    """Makes steps of blocks, and logs the means of an epoch under their true names."""

    model: VAE
    objective: Objective
    total_steps: int

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.train_meter = BoundMeter()
        self.val_meter = BoundMeter()
        self.share = Share(0, slice(0))  # of the batch that a step is about
        self._judge: str | None = None

    @abstractmethod
    def step(self, x: Tensor, noise: Tensor, step: int) -> Terms:
        """One step up the bound of a batch: x [B, D], noise [S, B, N] -> its terms [B]."""

    @abstractmethod
    def noise(self, batch: int, purpose: str, index: int) -> Tensor:
        """ε of a batch: [S, B, N]."""

    @abstractmethod
    def check_finite(self) -> None:
        """Raise Diverged if a loss since the start, or a weight, is not finite."""

    @property
    def judge(self) -> str:
        """What tells the best weights: the bound that is trained, if no callback says otherwise."""
        return self._judge or f"val/{self.objective.name}"

    @judge.setter
    def judge(self, name: str) -> None:
        self._judge = name

    def require_memory(self, data: ImageData, device: torch.device, processes: int) -> None:
        """Raise UserError if a step, with its gradients and Adam's moments, takes too much."""
        images = max(len(data.splits.train), len(data.splits.validation))
        samples, latent_dim = self.objective.samples, self.model.latent_dim
        batch = min(data.batch_size, images)
        block = min(max(data.block_images, batch), images)
        step = samples * batch / processes * memory.of_a_row(self.model.decoder)
        noise = samples * block * latent_dim * torch.get_default_dtype().itemsize
        memory.require(
            step + noise + 3 * memory.of_weights(self.model),
            {
                "objective.samples": samples,
                "batch_size": batch,
                "latent_dim": latent_dim,
                **self.model.decoder.sizes,
            },
            device,
        )

    def training_step(self, block: Block, block_idx: int) -> None:
        """A step for each batch, or for this process's rows of it."""
        first, shares, done = self.global_step, block.shares, []
        # In one go: the code that draws stays cached, which saves 0.2 ms a step.
        noises = [
            self.noise(share.batch, TRAINED, step)[:, share.rows]
            for step, share in enumerate(shares, first)
        ]
        for step, (x, noise, share) in enumerate(zip(block, noises, shares, strict=True), first):
            self.share = share
            done.append(self.step(x, noise, step))
        self.train_meter.add(Terms.joined(done))
        if self.trainer.is_last_batch and not self.validates:
            self.check_finite()
            self.publish_trained()

    @property
    def validates(self) -> bool:
        """Whether an epoch ends with a validation: it does not if no images are for it."""
        return bool(self.trainer.val_dataloaders)

    def on_validation_start(self) -> None:
        """Log the bounds of the epoch's steps, however many it had."""
        self.publish_trained()

    def publish_trained(self) -> None:
        """The ELBO and the bound that is trained, over the steps since the last time."""
        means = self.named(self.train_meter.means())
        del means["log_likelihood"], means["kl"]
        self.publish(TRAINED, means, self.global_step - 1)

    def validation_step(self, block: Block, block_idx: int) -> None:
        """Add the bounds of a block, in full precision; the noise is the same in every epoch."""
        loader: EpochBatches = self.trainer.val_dataloaders  # type: ignore[assignment]
        with torch.autocast(self.device.type, enabled=False):
            for index, x in enumerate(block, start=block_idx * loader.batches_per_block):
                noise = self.noise(len(x), "validation", index)
                self.val_meter.add(self.objective(self.model, x, noise, self.total_steps - 1))

    def on_validation_epoch_end(self) -> None:
        """The ELBO, its two terms and the bound that is trained, once an epoch."""
        self.check_finite()
        means = self.named(self.val_meter.means())
        self.publish("val", means, self.global_step - 1)
        bound = means[self.objective.name].item()
        if not math.isfinite(bound):
            raise Diverged(
                f"val/{self.objective.name} is {bound} after epoch {self.current_epoch + 1}: "
                "start a new run with a lower lr"
            )

    def named(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """A meter's means by their true names: ``elbo`` is the ELBO, whatever is trained.

        Raises UserError if an objective gives its bound a name that belongs to another number.
        """
        log_likelihood, kl, bound = means["log_likelihood"], means["kl"], means["bound"]
        named = {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}
        name = self.objective.name
        if name in named and not _close(named[name], bound):
            raise UserError(
                f"the objective is called {name} but gives {bound:.6g}, and {name} is "
                f"{named[name]:.6g}: give its class another name"
            )
        return named | {name: bound}

    def publish(self, split: str, means: dict[str, Tensor], step: int) -> None:
        """Log means for the callbacks, and for the loggers at once: a checkpoint comes after them.

        Lightning would log an epoch's means after its checkpoint: never, if it was killed there.
        """
        named = {f"{split}/{name}": mean.float() for name, mean in means.items()}
        self.log_dict(named, logger=False, on_step=False, on_epoch=True, batch_size=1)
        numbers = {name: mean.item() for name, mean in named.items()}
        for logger in self.loggers:
            logger.log_metrics(numbers, step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let no checkpoint take the place of a good one that is not finite."""
        self.check_finite()


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether two means are the same but for rounding; what is not finite is told elsewhere."""
    one, other = one.double(), other.double()
    finite = bool(one.isfinite() & other.isfinite())
    return not finite or bool(torch.isclose(one, other, rtol=1e-3, atol=1e-2))
