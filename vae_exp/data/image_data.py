"""The images of a run: their settings, the splits that these give, and the batches of each."""

import copy
from functools import cached_property
from pathlib import Path

import torch

from vae_exp.data.batches import EpochBatches
from vae_exp.data.contracts import Source
from vae_exp.data.settings import Binarization, Protocol, Word, check_data_settings, source_of
from vae_exp.data.splits import Split, Splits, load_splits
from vae_exp.ranges import NonNegative, Positive


class ImageData:
    """Images of a source, binary or grey, in three splits and in batches [B, D].

    The settings are those of `load_splits`. Training batches are cut among the processes of a
    distributed run; validation and test are whole in each, so that their means need no weighting.
    Batches come in blocks of about `block_images`, which is how often a signal is heard, the bar
    moves and a checkpoint may be written. Raises UserError if a setting is out of range, before
    any file is touched.
    """

    def __init__(
        self,
        *,
        source: Word | Source = "auto",
        root: str | Path | None = None,
        protocol: Protocol = "assignment",
        train_size: Positive = 10_000,
        validation_size: NonNegative = 2_000,
        test_size: Positive = 10_000,
        test_from: Positive | None = None,
        binarization: Binarization = "threshold",
        batch_size: Positive = 200,
        block_images: Positive = 2_000,
        seed: NonNegative = 0,
    ) -> None:
        check_data_settings(
            source=source,
            protocol=protocol,
            train_size=train_size,
            validation_size=validation_size,
            test_size=test_size,
            test_from=test_from,
            binarization=binarization,
            batch_size=batch_size,
            block_images=block_images,
            seed=seed,
        )
        self.source = source_of(source, root)
        self.protocol = protocol
        self.train_size = train_size
        self.validation_size = validation_size
        self.test_size = test_size
        self.test_from = test_from
        self.binarization = binarization
        self.batch_size = batch_size
        self.block_images = block_images
        self.seed = seed

    @cached_property
    def splits(self) -> Splits:
        """Training, validation and test images, read when they are first asked for."""
        return load_splits(
            source=self.source,
            protocol=self.protocol,
            train_size=self.train_size,
            validation_size=self.validation_size,
            test_size=self.test_size,
            test_from=self.test_from,
            binarization=self.binarization,
            seed=self.seed,
        )

    def recalled(self, name: str) -> "ImageData":
        """The same settings for the images that a run calls by a name; nothing is read yet.

        Raises UserError if the source has no images of that name.
        """
        found = copy.copy(self)
        found.__dict__.pop("splits", None)
        found.source = self.source.recalled(name)
        return found

    def train_batches(
        self, device: torch.device | str = "cpu", rank: int = 0, world_size: int = 1
    ) -> EpochBatches:
        """Shuffled anew each epoch; drawn anew too if the binarisation is dynamic."""
        train, redraw = self.splits.train, self.binarization == "dynamic"
        return EpochBatches(
            (train.pixels if redraw else train.values).to(device),
            top=train.top,
            batch_size=self.batch_size,
            block_images=self.block_images,
            seed=self.seed,
            shuffle=True,
            redraw=redraw,
            rank=rank,
            world_size=world_size,
        )

    def batches_in_order(self, split: Split, device: torch.device | str = "cpu") -> EpochBatches:
        """The images of a split, in order."""
        return EpochBatches(
            split.values.to(device),
            top=split.top,
            batch_size=self.batch_size,
            block_images=self.block_images,
        )
