"""The LightningModule: a bound becomes a loss."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from vae_exp import memory
from vae_exp.data import Block, EpochBatches, ImageData, ImageDataModule, Share
from vae_exp.inference import bounds
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.streams import generator
from vae_exp.training.fitting import Objective, OptimizerFactory
from vae_exp.training.optimizers import refuse_forgotten
from vae_exp.training.watch import Diverged, Watch


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


class VAEModule(pl.LightningModule):
    """Trains a VAE by a bound; the noise of step t is a function of (seed, t) alone.

    Lightning hands over a block of batches at a time, and what it does around a step is done around
    a block: it takes 0.6 ms, a tenth of a step of the default model (docs/performance.md).
    """

    def __init__(self, model: VAE, objective: Objective, optimizer: OptimizerFactory, seed: int):
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.objective = objective
        self.optimizer_factory = optimizer
        self.seed = seed
        self.train_meter = BoundMeter()
        self.val_meter = BoundMeter()

    @property
    def judge(self) -> str:
        """What tells the best weights: the bound that is trained, on the validation images."""
        return f"val/{self.objective.name}"

    def on_train_start(self) -> None:
        """Watch for losses that are not finite."""
        self.watch = Watch(self.model, self.global_step)

    def on_train_end(self) -> None:
        """Leave the model as it was."""
        self.watch.close()

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
                "hidden": max(getattr(self.model.decoder, "hidden", ()), default=0),
            },
            device,
        )

    def training_step(self, block: Block, block_idx: int) -> None:
        """A step for each batch [B, D]; the last of an epoch logs the bounds of all of them."""
        first = self.global_step
        noises = [
            self.noise(share.batch, "train", step)[:, share.rows]
            for step, share in enumerate(block.shares, first)
        ]
        steps = [self.step(*each) for each in zip(block, noises, block.shares, strict=True)]
        self.train_meter.add(Terms.joined(steps))
        if self.trainer.is_last_batch:
            bounds = self.named(self.train_meter.means())
            del bounds["log_likelihood"], bounds["kl"]
            self.publish("train", bounds, self.global_step - 1)

    def step(self, x: Tensor, noise: Tensor, share: Share) -> Terms:
        """One step up the bound of a batch [B, D]: its terms [B] before the step."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        terms = self.objective(self.model, x, noise)
        self.watch.step(terms.bound)
        optimizer.zero_grad()  # type: ignore[union-attr]
        self.manual_backward(self.loss(terms.bound, share))
        optimizer.step()  # type: ignore[union-attr]
        if schedule is not None:
            schedule.step()  # type: ignore[union-attr]
        return terms.detach()

    def loss(self, bound: Tensor, share: Share) -> Tensor:
        """What a step lowers."""
        return bounds.loss(bound)

    def validation_step(self, block: Block, block_idx: int) -> None:
        """Add the bounds of a block; the noise is the same in every epoch."""
        loader: EpochBatches = self.trainer.val_dataloaders  # type: ignore[assignment]
        for index, x in enumerate(block, start=block_idx * loader.batches_per_block):
            noise = self.noise(len(x), "validation", index)
            self.val_meter.add(self.objective(self.model, x, noise))

    def on_validation_epoch_end(self) -> None:
        """The ELBO, its two terms and the bound that is trained, once an epoch."""
        self.check_finite()
        means = self.named(self.val_meter.means())
        self.publish("val", means, self.global_step - 1)
        bound = means[self.objective.name].item()
        if not math.isfinite(bound):
            raise Diverged(
                f"{self.judge} is {bound} after epoch {self.current_epoch + 1}: "
                "start a new run with a lower lr"
            )

    def named(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """A meter's means by their true names: ``elbo`` is the ELBO, whatever is trained."""
        log_likelihood, kl = means["log_likelihood"], means["kl"]
        named = {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}
        return named | {self.objective.name: means["bound"]}

    def publish(self, split: str, means: dict[str, Tensor], step: int) -> None:
        """Log means for the callbacks, and for TensorBoard at once: a checkpoint comes after them.

        Lightning would log an epoch's means after its checkpoint: never, if it was killed there.
        """
        named = {f"{split}/{name}": mean.float() for name, mean in means.items()}
        self.log_dict(named, logger=False, on_step=False, on_epoch=True, batch_size=1)
        assert self.logger is not None
        self.logger.log_metrics({name: mean.item() for name, mean in named.items()}, step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let no checkpoint take the place of a good one that is not finite."""
        self.check_finite()

    def check_finite(self) -> None:
        """Raise Diverged if a loss since the start, or a weight, is not finite."""
        [optimizer] = self.trainer.optimizers
        self.watch.check(optimizer.param_groups[0]["lr"])

    def noise(self, batch: int, purpose: str, index: int) -> Tensor:
        """ε of one batch: [S, B, Z], drawn from the stream (seed, purpose, index)."""
        draws = generator(self.seed, purpose, index, device=self.device)
        return self.model.noise.draw(
            self.objective.samples, batch, generator=draws, device=self.device
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and its schedule step by step."""
        # Lightning's estimated_stepping_batches would set up the loader here, before a checkpoint's
        # place in the epoch is known, and the loader would then never learn of it.
        data: ImageDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        assert self.trainer.max_epochs is not None
        self.total_steps = self.trainer.max_epochs * data.train_dataloader().batches
        optimizer, schedule = self.optimizer_factory.build(self.model, self.total_steps)
        refuse_forgotten(self.model, optimizer)
        if schedule is None:
            return optimizer
        return [optimizer], [schedule]
