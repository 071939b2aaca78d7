"""The images of a run as Lightning wants them."""

import pytorch_lightning as pl
import torch

from vae_exp.data.batches import EpochBatches
from vae_exp.data.image_data import ImageData


class ImageDataModule(pl.LightningDataModule):
    """Serves `data` in batches on the Trainer's device, so that none has to be brought there."""

    def __init__(self, data: ImageData) -> None:
        super().__init__()
        self.data = data

    def train_dataloader(self) -> EpochBatches:
        """This process's part of every batch."""
        if self.trainer is None:
            return self.data.train_batches()
        return self.data.train_batches(
            self._device, self.trainer.global_rank, self.trainer.world_size
        )

    def val_dataloader(self) -> EpochBatches | list[EpochBatches]:
        """In order; no loader if no images validate."""
        validation = self.data.splits.validation
        return self.data.batches_in_order(validation, self._device) if len(validation) else []

    def test_dataloader(self) -> EpochBatches:
        """In order."""
        return self.data.batches_in_order(self.data.splits.test, self._device)

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
