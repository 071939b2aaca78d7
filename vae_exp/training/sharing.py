"""One process's part in training a model that several train together."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor

from vae_exp.training.blocks import BoundMeter
from vae_exp.training.module import VAEModule
from vae_exp.training.watch import Diverged


class SharedMeter(BoundMeter):
    """Sums over the images that all processes saw."""

    def total(self) -> Tensor:
        """The sums of all processes."""
        total = self.sums.clone()
        torch.distributed.all_reduce(total)
        return total

    def means(self) -> dict[str, Tensor]:
        """The means over the images of all processes, and a fresh start."""
        self.sums = self.total()
        return super().means()


class SharedModule(VAEModule):
    """One process's part in training: its own rows of each batch and of the batch's noise.

    The gradients that DDP averages are then those of one process with the whole batch.
    """

    train_meter: SharedMeter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.train_meter = SharedMeter()

    def on_train_start(self) -> None:
        """Keep what a checkpoint says of the images seen so far in one process only."""
        super().on_train_start()
        if self.global_rank:
            self.train_meter.sums.zero_()

    def loss(self, bound: Tensor) -> Tensor:
        """The loss of this process's rows, weighed by how many of the batch's they are."""
        return super().loss(bound) * (len(bound) * self.trainer.world_size / self.share.batch)

    def check_finite(self) -> None:
        """Raise Diverged in every process if one has reason to."""
        reason = None
        try:
            super().check_finite()
        except Diverged as error:
            reason = str(error)
        reasons: list[str | None] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(reasons, reason)
        for told in reasons:
            if told is not None:
                raise Diverged(told)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the sums of all processes; called in each of them."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["state_dict"]["train_meter.sums"] = self.train_meter.total()
