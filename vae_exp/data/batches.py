"""Batches cut from tensors in memory: views in order, and epochs whose order can be resumed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.data.settings import check_data_settings
from vae_exp.data.splits import as_images, binarize
from vae_exp.errors import UserError
from vae_exp.probability.streams import generator


def batch_x(x: Tensor, batch_size: int = 100) -> list[Tensor]:
    """Views [B, ...] of `x` [N, ...], in order; the last may be smaller."""
    check_data_settings(batch_size=batch_size)
    return list(torch.split(x, batch_size))


def batch_data(x: Tensor, y: Tensor, batch_size: int = 100) -> list[tuple[Tensor, Tensor]]:
    """Pairs of views of `x` [N, ...] and its labels `y` [N], in order; the last may be smaller.

    Raises UserError if `x` and `y` differ in number.
    """
    if len(x) != len(y):
        raise UserError(f"as many labels as images are expected, got {len(y)} for {len(x)} images")
    return list(zip(batch_x(x, batch_size), batch_x(y, batch_size), strict=True))


@dataclass(frozen=True)
class Share:
    """A process's part of a batch: the ``rows`` of ``batch`` images that it sees."""

    batch: int
    rows: slice


class Block:
    """Some consecutive batches [B, D], float32 in [0, 1], each made when its turn comes."""

    def __init__(self, views: Sequence[Tensor], shares: Sequence[Share], top: int = 1):
        self._views = views  # [B, D] uint8
        self._top = top
        self.shares = shares

    def __iter__(self) -> Iterator[Tensor]:
        return (as_images(view, self._top) for view in self._views)


class EpochBatches:
    """The batches [B, D] of one epoch after another, in blocks for Lightning.

    A block has as many whole batches as fit in ``block_images`` images, or one: Lightning's work
    around a step is then done once a block. In training (`shuffle`) the order is a function of
    (seed, epoch) alone, and so are the images if `redraw` asks for them to be drawn again from
    grey ones each epoch. `set_epoch` chooses the epoch; `state_dict` is the
    place within it, so that a loader which has loaded it goes on with the next block. Across
    `world_size` processes each batch is cut in parts, and each image is seen by one of them.

    All of it happens where ``images`` are. Raises UserError if a process would be left without
    images.
    """

    def __init__(
        self,
        images: Tensor,  # [N, D] uint8: 0..top, or 0..255 if they are drawn again
        *,
        batch_size: int,
        top: int = 1,  # what is served as 1.0
        block_images: int = 1,
        seed: int = 0,
        shuffle: bool = False,
        redraw: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_data_settings(batch_size=batch_size, block_images=block_images, seed=seed)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        smallest = len(images) % batch_size or batch_size
        if batch_size % world_size or smallest < world_size:
            raise UserError(
                f"batch_size must be a multiple of the {world_size} processes and leave each of "
                f"them an image in the last batch, got {batch_size} for {len(images):,} images"
            )
        self._images = images
        self._batch_size = batch_size
        self._top = top
        self._seed = seed
        self._shuffle = shuffle
        self._redraw = redraw
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._position = 0
        self._resume_at = 0
        self.batches = -(-len(images) // batch_size)
        self.batches_per_block = max(1, block_images // batch_size)

    def __len__(self) -> int:
        return -(-self.batches // self.batches_per_block)

    @property
    def sampler(self) -> "EpochBatches":
        """Where Lightning looks for `set_epoch`."""
        return self

    @property
    def batch_sampler(self) -> None:
        """Lightning asks for it wherever there is a sampler."""
        return

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next; a loaded place holds for its own epoch."""
        if epoch != self._epoch:
            self._epoch, self._position, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """The epoch under way and how many of its blocks were taken, 0 if all were."""
        return {"epoch": self._epoch, "position": self._position, "blocks": len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where `state_dict` was taken; raises UserError if blocks differ in number."""
        if state_dict["blocks"] != len(self):
            raise UserError(
                f"the run was saved with {state_dict['blocks']} blocks of batches an epoch and "
                f"this one has {len(self)}: resume with the same data and batch_size"
            )
        self._epoch, self._position = state_dict["epoch"], state_dict["position"]
        self._resume_at = self._position

    def __iter__(self) -> Iterator[Block]:
        # A generator: nothing here runs before the first block is asked for, and Lightning sets
        # the epoch between the two.
        start, self._resume_at = self._resume_at, 0
        images = self._epoch_images()
        for index in range(start, len(self)):
            first = index * self.batches_per_block
            last = min(first + self.batches_per_block, self.batches)
            self._position = (index + 1) % len(self)
            shares = [self._share(batch) for batch in range(first, last)]
            views = [
                images[batch * self._batch_size :][share.rows]
                for batch, share in enumerate(shares, first)
            ]
            yield Block(views, shares, self._top)

    def _epoch_images(self) -> Tensor:
        """The images of this epoch in its order: one gather an epoch, so that batches are views."""
        images, device = self._images, self._images.device
        if self._redraw:
            draws = generator(self._seed, "redraw", self._epoch, device=device)
            images = binarize(images, "dynamic", draws)
        if self._shuffle:
            draws = generator(self._seed, "order", self._epoch, device=device)
            order = torch.randperm(len(images), generator=draws, device=device)
            images = images.index_select(0, order)
        return images

    def _share(self, batch: int) -> Share:
        size = min(self._batch_size, len(self._images) - batch * self._batch_size)
        first, last = (rank * size // self._world_size for rank in (self._rank, self._rank + 1))
        return Share(size, slice(first, last))
