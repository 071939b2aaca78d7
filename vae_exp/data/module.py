"""The splits as Lightning wants them."""

from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
from torch import Tensor

from vae_exp.data.batches import EpochBatches
from vae_exp.data.settings import check_data_settings
from vae_exp.data.splits import Split, Splits, data_root, load_splits
from vae_exp.ranges import NonNegative, Positive


class DigitsDataModule(pl.LightningDataModule):
    """Serves binarised 28×28 digits in batches [B, 784]; `splits` holds them after `setup`.

    The settings are those of `load_splits`. Training is cut among the processes of a distributed
    run; validation and test are whole in each, so that their means need no weighting.
    Batches come in blocks of about `block_images`, which is how often a signal is heard, the bar
    moves and a checkpoint may be written. Raises UserError if a setting is out of range, before
    any file is touched.
    """

    def __init__(
        self,
        *,
        source: Literal["auto", "mnist", "digits"] = "auto",
        root: str | Path | None = None,
        protocol: Literal["assignment", "standard"] = "assignment",
        train_size: Positive = 10_000,
        validation_size: Positive = 2_000,
        test_size: Positive = 10_000,
        binarization: Literal["threshold", "stochastic", "dynamic"] = "threshold",
        batch_size: Positive = 200,
        block_images: Positive = 2_000,
        seed: NonNegative = 0,
    ) -> None:
        super().__init__()
        check_data_settings(
            source=source,
            protocol=protocol,
            train_size=train_size,
            validation_size=validation_size,
            test_size=test_size,
            binarization=binarization,
            batch_size=batch_size,
            block_images=block_images,
            seed=seed,
        )
        self.source = source
        self.root = data_root(root)
        self.protocol = protocol
        self.train_size = train_size
        self.validation_size = validation_size
        self.test_size = test_size
        self.binarization = binarization
        self.batch_size = batch_size
        self.block_images = block_images
        self.seed = seed
        self._splits: Splits | None = None

    def setup(self, stage: str | None = None) -> None:
        """Load the splits, the first time that it is called."""
        if self._splits is None:
            self._splits = load_splits(
                source=self.source,
                root=self.root,
                protocol=self.protocol,
                train_size=self.train_size,
                validation_size=self.validation_size,
                test_size=self.test_size,
                binarization=self.binarization,
                seed=self.seed,
            )

    @property
    def splits(self) -> Splits:
        """Training, validation and test images; raises RuntimeError before `setup`."""
        if self._splits is None:
            raise RuntimeError("call setup() before the splits are asked for")
        return self._splits

    def train_dataloader(self) -> EpochBatches:
        """Shuffled anew each epoch; drawn anew too if the binarisation is dynamic."""
        train, redraw = self.splits.train, self.binarization == "dynamic"
        return EpochBatches(
            self._where_training_is(train.pixels if redraw else train.binary),
            batch_size=self.batch_size,
            block_images=self.block_images,
            seed=self.seed,
            shuffle=True,
            redraw=redraw,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )

    def val_dataloader(self) -> EpochBatches:
        """In order."""
        return self._in_order(self.splits.validation)

    def test_dataloader(self) -> EpochBatches:
        """In order."""
        return self._in_order(self.splits.test)

    def _in_order(self, split: Split) -> EpochBatches:
        return EpochBatches(
            self._where_training_is(split.binary),
            batch_size=self.batch_size,
            block_images=self.block_images,
        )

    def _where_training_is(self, images: Tensor) -> Tensor:
        """The images on the Trainer's device, so that no batch has to be brought there."""
        return images.to(self.trainer.strategy.root_device) if self.trainer else images
