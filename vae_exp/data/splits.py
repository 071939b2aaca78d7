"""Images in three disjoint splits, binarised or grey, and where each came from."""

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vae_exp.data.contracts import Images, Source
from vae_exp.data.cutting import check_fits, cut_images
from vae_exp.data.settings import check_data_settings, in_words, source_of
from vae_exp.errors import UserError
from vae_exp.models.contracts import SHAPE, Shape
from vae_exp.probability.streams import generator

SplitName = Literal["train", "validation", "test"]
_BLOCK = 4096

_log = logging.getLogger(__name__)


def binarize(images: Tensor, mode: str, generator: torch.Generator | None = None) -> Tensor:
    """Binary images from grey ones [N, D] in 0..255, both uint8.

    "threshold": 1[pixel / 255 > 0.5]; "stochastic" and "dynamic": 1[u < pixel / 255] with
    u ~ U[0, 1) from `generator`.
    """
    if mode == "threshold":
        return (images > 127).to(torch.uint8)
    if mode not in ("stochastic", "dynamic"):
        raise ValueError(f"mode must be threshold, stochastic or dynamic, got {mode!r}")
    binary = torch.empty_like(images)
    for block, out in zip(torch.split(images, _BLOCK), torch.split(binary, _BLOCK), strict=True):
        noise = torch.rand(block.shape, generator=generator, device=block.device)
        out.copy_(noise < block / 255)
    return binary


def as_images(values: Tensor, top: int) -> Tensor:
    """Values [.., D] in 0..top, uint8, as float32 in [0, 1]: a new tensor."""
    return values.float() if top == 1 else values.float().div_(top)


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split, as their file has them and as a model is given them, with their labels.

    `pixels` [N, D] uint8 in 0..255; `values` [N, D] uint8 in 0..`top`: binary ones have the top 1,
    and grey ones are the pixels themselves, with the top 255. `labels` [N] int64 from 0, or None;
    `origin` says which images of which file they are; `shape` is that of one image. Raises
    UserError if these disagree.
    """

    name: str
    pixels: Tensor
    values: Tensor
    labels: Tensor | None
    origin: str
    shape: Shape = SHAPE
    top: int = 1

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.pixels) != len(self.labels):
            raise UserError(
                f"{self.origin}: {len(self.pixels):,} images but {len(self.labels):,} labels"
            )
        if self.pixels.dtype != torch.uint8 or self.values.dtype != torch.uint8:
            raise UserError(
                f"{self.origin}: pixels are uint8 in 0..255 and values uint8 in 0..{self.top}, "
                f"got {self.pixels.dtype} and {self.values.dtype}"
            )
        if self.pixels.shape != self.values.shape or (self.values > self.top).any():
            raise UserError(f"{self.origin}: not every pixel has a value in 0..{self.top}")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def classes(self) -> list[int]:
        """The labels that there are, in order; none if the images have no labels."""
        return [] if self.labels is None else self.labels.unique().tolist()

    def of(self, label: int) -> Tensor:
        """Which images have a label: bool [N]."""
        none = torch.zeros(len(self), dtype=torch.bool)
        return none if self.labels is None else self.labels == label

    @property
    def images(self) -> Tensor:
        """What a model is given: [N, D] float32 in [0, 1], a new tensor each time."""
        return as_images(self.values, self.top)

    def some(self, index: slice | Tensor) -> Tensor:
        """Those of the images that ``index`` chooses."""
        return as_images(self.values[index], self.top)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the values, one byte a pixel, row by row."""
        return hashlib.sha256(self.values.numpy().tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint splits of one source, made binary in one way or left grey.

    `notice` is what a reader of any number or figure must know: None if all is as asked. `run`
    is the name that a run was given.
    """

    train: Split
    validation: Split
    test: Split
    source: Source
    binarization: str
    notice: str | None = None
    run: str | None = None

    @property
    def caption(self) -> str:
        """A short text for figures: what the images are and how they were made binary."""
        return caption_of(self.source, self.binarization, self.run)

    @property
    def shape(self) -> Shape:
        """Of one image: (height, width), or (height, width, 3) in colour."""
        return self.train.shape

    @property
    def trained_on(self) -> str:
        """Which images a model of this run has seen."""
        return f"trained on {len(self.train):,} images ({self.train.origin})"

    def named(self, name: SplitName) -> Split:
        """The split of that name; raises UserError if it has no images."""
        found = {part.name: part for part in (self.train, self.validation, self.test)}[name]
        if not len(found):
            raise UserError(f"split={name} has no images (data.{name}_size=0): give another split")
        return found


@dataclass(frozen=True)
class About:
    """What a caption says of a run's images, if they are not needed themselves."""

    source: Source
    binarization: str
    trained_on: str = ""
    run: str | None = None

    @property
    def caption(self) -> str:
        """The same as that of the images."""
        return caption_of(self.source, self.binarization, self.run)


def caption_of(source: Source, binarization: str, run: str | None) -> str:
    """The run's name if it has one, what the images are, and how they were made binary."""
    images = f"{source.caption}, {in_words(binarization)}"
    return f"{run} · {images}" if run else images


def load_splits(
    *,
    source: Source | str = "auto",
    root: str | Path | None = None,
    protocol: str = "assignment",
    train_size: int = 10_000,
    validation_size: int = 2_000,
    test_size: int = 10_000,
    test_from: int | None = None,
    binarization: str = "threshold",
    seed: int = 0,
) -> Splits:
    """Training, validation and test images, binarised by a draw that is a function of `seed`.

    With `binarization` "none" they are grey values in [0, 1].

    "assignment": of the source's training images the first `train_size` train, the next `test_size`
    test, the next `validation_size` validate; with `test_from` those that test begin there, if
    there are enough, so that they stay the same whatever number trains. "standard": the first
    `train_size` train, the last `validation_size` validate, and the source's test images test, if
    it has any. `source` "auto" is MNIST if it is in `root` or comes from a mirror, else the bundled
    digits with a warning and a `notice`. Raises UserError if a setting is out of range, a file is
    bad, or the images cannot be had.
    """
    check_data_settings(
        source=source,
        protocol=protocol,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        test_from=test_from,
        binarization=binarization,
        seed=seed,
    )
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    asked = source_of(source, root)
    check_fits(asked, protocol, sizes)
    found = asked.read(test=protocol == "standard")
    cut, shortage = cut_images(found, protocol, sizes, test_from)
    notice = "; ".join(text for text in (found.notice, shortage) if text) or None
    if notice:
        _log.warning(notice)
    splits = {name: _split(name, *part, mode=binarization, seed=seed) for name, part in cut.items()}
    return Splits(
        splits["train"],
        splits["validation"],
        splits["test"],
        source=found.source,
        binarization="threshold>0.5" if binarization == "threshold" else binarization,
        notice=notice,
    )


def load_binarized_mnist(
    root: str | Path | None = None,
    train_size: int = 10_000,
    test_size: int = 10_000,
    *,
    binarization: str = "threshold",
    seed: int = 0,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(x_train, y_train), (x_test, y_test) as in the assignment: the first and second images.

    Images [N, 784] are float32 0 or 1, labels [N] int64. `root` is $VAE_EXP_DATA, else `data`,
    if not given. Raises UserError if MNIST cannot be had.
    """
    check_data_settings(
        train_size=train_size, test_size=test_size, binarization=binarization, seed=seed
    )
    sizes = {"train": train_size, "test": test_size, "validation": 0}
    mnist = source_of("mnist", root)
    check_fits(mnist, "assignment", sizes)
    cut, _ = cut_images(mnist.read(test=False), "assignment", sizes)
    train, test = (
        _split(name, *cut[name], mode=binarization, seed=seed) for name in ("train", "test")
    )
    assert train.labels is not None
    assert test.labels is not None
    return (train.images, train.labels), (test.images, test.labels)


def _split(name: str, images: Images, held: list[slice], *, mode: str, seed: int) -> Split:
    held = [part for part in held if part.stop > part.start]
    rows = np.concatenate([np.arange(part.start, part.stop) for part in held] or [np.arange(0)])
    pixels = torch.from_numpy(images.pixels[rows]).flatten(1)
    labels = None if images.labels is None else images.labels[rows].astype(np.int64)
    grey = mode == "none"
    told = " and ".join(f"{part.start}-{part.stop - 1}" for part in held)
    return Split(
        name=name,
        pixels=pixels,
        values=pixels if grey else binarize(pixels, mode, generator(seed, "binarization", name)),
        labels=None if labels is None else torch.from_numpy(labels),
        origin=f"{images.what} {told}" if told else "no images",
        shape=images.shape,
        top=255 if grey else 1,
    )
