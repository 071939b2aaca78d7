"""The LightningModule: x → q(z | x) → z → p(x | z) → bound → loss → step."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from vae_exp.data import ImageDataModule
from vae_exp.inference import bounds
from vae_exp.models.networks.layers import StepNoise
from vae_exp.models.objectives import begin
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.streams import generator
from vae_exp.training.averaging import Average
from vae_exp.training.blocks import BlockModule
from vae_exp.training.descent import descent_of
from vae_exp.training.fitting import Clip, Objective, OptimizerFactory, descent
from vae_exp.training.watch import Watch

LAST_WEIGHTS = "last_weights"  # of a checkpoint whose weights are averaged ones


class VAEModule(BlockModule):
    """Trains a VAE by a bound; the noise of step t is a function of (seed, t) alone.

    `fitting.fit` is the same in plain PyTorch.
    """

    def __init__(
        self,
        model: VAE,
        objective: Objective,
        optimizer: OptimizerFactory,
        seed: int,
        clip: Clip | None = None,
        average_weights: float = 0.0,
    ):
        super().__init__()
        self.model = model
        self.objective = objective
        self.optimizer_factory = optimizer
        self.seed = seed
        self.clip = clip
        self.average_weights = average_weights
        self.average: Average | None = None
        self._last_weights: dict[str, Tensor] | None = None

    def step(self, x: Tensor, noise: Tensor, step: int) -> Terms:
        """One step up the bound of a batch: x [B, D], noise [S, B, N] -> its terms [B] before it.

        The objective goes from x to q(z | x), draws z from the noise, and gives a bound of
        log p(x), such as log p(x | z) − KL(q(z | x) ‖ p(z)); see `models/objectives/`.
        """
        of_networks = StepNoise(self.seed, step, self.share.batch, self.share.rows)
        with self.model.training_noise(of_networks):
            terms = self.objective(self.model, x, noise, step)
        self.watch.step(terms.bound)
        self.descent.step(self.loss(terms.bound))
        if self.average is not None:
            self.average.update(step)
        return terms.detach()

    def loss(self, bound: Tensor) -> Tensor:
        """What a step lowers: minus the mean of a bound [B]."""
        return bounds.loss(bound)

    def noise(self, batch: int, purpose: str, index: int) -> Tensor:
        """ε of one batch: [S, B, N], drawn from the stream (seed, purpose, index)."""
        draws = generator(self.seed, purpose, index, device=self.device)
        return self.model.noise.draw(
            self.objective.samples, batch, generator=draws, device=self.device
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and its schedule step by step."""
        # Lightning's estimated_stepping_batches would set up the loader here, before a checkpoint's
        # place in the epoch is known, and the loader would then never learn of it.
        data: ImageDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        batches, limit = data.train_dataloader().batches, self.trainer.limit_train_batches
        assert self.trainer.max_epochs is not None
        if limit is not None:
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        self.total_steps = self.trainer.max_epochs * batches
        begin(self.objective, self.model, batches)
        optimizer, schedule = descent(self.optimizer_factory, self.model, self.total_steps)
        return optimizer if schedule is None else ([optimizer], [schedule])

    def on_train_start(self) -> None:
        """Watch for losses that are not finite; train on from the weights of the last step."""
        self.watch = Watch(self.model, self.global_step)
        self.descent = descent_of(self, self.clip)
        if self.average_weights:
            self.average = Average(self.model, self.average_weights)
            if self._last_weights is not None:
                self.average.go_on(self._last_weights)

    def on_train_end(self) -> None:
        """Leave the model as it was, with the weights that count."""
        self.watch.close()
        if self.average is not None:
            self.average.swap()

    def averaged(self) -> AbstractContextManager[None]:
        """While entered, the model has the weights that count: averaged ones, if there are any."""
        return nullcontext() if self.average is None else self.average.shown()

    def on_validation_start(self) -> None:
        """Validate the weights that count."""
        super().on_validation_start()
        if self.average is not None:
            self.average.swap()

    def on_validation_end(self) -> None:
        """Train on."""
        if self.average is not None:
            self.average.swap()

    def check_finite(self) -> None:
        """Raise Diverged if a loss since the start, or a weight, is not finite."""
        [optimizer] = self.trainer.optimizers
        self.watch.check(optimizer.param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the weights that count as the model's, beside those to train on from."""
        super().on_save_checkpoint(checkpoint)
        if self.average is not None:
            checkpoint[LAST_WEIGHTS] = self.average.last
            averaged = {f"model.{name}": w for name, w in self.average.averaged.items()}
            checkpoint["state_dict"].update(averaged)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the weights to train on from."""
        if self.average_weights:
            self._last_weights = checkpoint.get(LAST_WEIGHTS, {})
