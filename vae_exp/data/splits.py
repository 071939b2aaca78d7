"""Binarised images in three disjoint splits, and where each came from."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_exp.data import digits, mnist
from vae_exp.data.settings import check_data_settings
from vae_exp.errors import UserError
from vae_exp.probability.streams import generator

AUTO_TIMEOUT = 3.0
SOURCES = {"mnist": "MNIST", "digits": "bundled 8×8 digits at 28×28 (not MNIST)"}
SplitName = Literal["train", "validation", "test"]
_BLOCK = 4096

_log = logging.getLogger(__name__)

_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
_Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], str]


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


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split, grey and binarised, with their labels.

    `pixels` [N, 784] uint8 in 0..255; `binary` [N, 784] uint8 in {0, 1}; `labels` [N] int64 in
    0..9; `origin` says which images of which file they are. Raises UserError if these disagree.
    """

    name: str
    pixels: Tensor
    binary: Tensor
    labels: Tensor
    origin: str

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.labels):
            raise UserError(
                f"{self.origin}: {len(self.pixels):,} images but {len(self.labels):,} labels"
            )
        if self.pixels.dtype != torch.uint8 or self.binary.dtype != torch.uint8:
            raise UserError(
                f"{self.origin}: pixels are uint8 in 0..255 and binary ones uint8 in 0..1, "
                f"got {self.pixels.dtype} and {self.binary.dtype}"
            )
        if self.pixels.shape != self.binary.shape or self.binary.max() > 1:
            raise UserError(f"{self.origin}: the binary images are not 0 or 1 for every pixel")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """The binary images [N, 784] as float32, a new tensor each time."""
        return self.binary.float()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the binary images, one byte a pixel, row by row."""
        return hashlib.sha256(self.binary.numpy().tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint splits of one source ("mnist" or "digits"), binarised in one way.

    `notice` is what a reader of any number or figure must know: None if all is as asked. `run`
    is the name that a run was given.
    """

    train: Split
    validation: Split
    test: Split
    source: str
    binarization: str
    notice: str | None = None
    run: str | None = None

    @property
    def caption(self) -> str:
        """A short text for figures: what the images are and how they were made binary."""
        return caption_of(self.source, self.binarization, self.run)

    @property
    def trained_on(self) -> str:
        """Which images a model of this run has seen."""
        return f"trained on {len(self.train):,} images ({self.train.origin})"

    def named(self, name: SplitName) -> Split:
        """The split of that name."""
        return {part.name: part for part in (self.train, self.validation, self.test)}[name]


@dataclass(frozen=True)
class About:
    """What a caption says of a run's images, if they are not needed themselves."""

    source: str
    binarization: str
    trained_on: str = ""
    run: str | None = None

    @property
    def caption(self) -> str:
        """The same as that of the images."""
        return caption_of(self.source, self.binarization, self.run)


def caption_of(source: str, binarization: str, run: str | None) -> str:
    """The run's name if it has one, what the images are, and how they were made binary."""
    images = f"{SOURCES[source]}, {binarization.replace('>', ' > ')}"
    return f"{run} · {images}" if run else images


def load_splits(
    *,
    source: str = "auto",
    root: str | Path | None = None,
    protocol: str = "assignment",
    train_size: int = 10_000,
    validation_size: int = 2_000,
    test_size: int = 10_000,
    binarization: str = "threshold",
    seed: int = 0,
    mirrors: Sequence[str] = mnist.MIRRORS,
    timeout: float | None = None,
) -> Splits:
    """Training, validation and test images, binarised by a draw that is a function of `seed`.

    "assignment": of MNIST's training file the first `train_size` train, the next `test_size` test,
    the next `validation_size` validate. "standard": the first `train_size` train, the last
    `validation_size` validate, and the test file tests. `source` "auto" is MNIST if it is in
    `root` or comes from a mirror, else the bundled digits with a warning and a `notice`.
    Raises UserError if a setting is out of range, a file is bad, or "mnist" cannot be had.
    """
    check_data_settings(
        source=source,
        protocol=protocol,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        binarization=binarization,
        seed=seed,
    )
    folder = data_root(root)
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    if source != "digits":
        _check_fits(protocol, sizes)
    if timeout is None:
        timeout = AUTO_TIMEOUT if source == "auto" else mnist.TIMEOUT

    cut, found, notice = None, "digits", None
    if source != "digits":
        try:
            cut = _cut_mnist(folder, protocol, sizes, mirrors=mirrors, timeout=timeout)
            found = "mnist"
        except mnist.MnistUnavailable as error:
            if source == "mnist":
                raise
            notice = f"not MNIST but scikit-learn's bundled digits: {error.reason}"
    if cut is None:
        cut, shortage = _cut_digits(sizes)
        notice = "; ".join(text for text in (notice, shortage) if text) or None
    if notice:
        _log.warning(notice)

    splits = {
        name: _binarized_split(name, *images, mode=binarization, seed=seed)
        for name, images in cut.items()
    }
    return Splits(
        splits["train"],
        splits["validation"],
        splits["test"],
        source=found,
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
    _check_fits("assignment", sizes)
    cut = _cut_mnist(data_root(root), "assignment", sizes, timeout=mnist.TIMEOUT)
    train, test = (
        _binarized_split(name, *cut[name], mode=binarization, seed=seed)
        for name in ("train", "test")
    )
    return (train.images, train.labels), (test.images, test.labels)


def data_root(root: str | Path | None) -> Path:
    """The folder of MNIST's files: `root`, else $VAE_EXP_DATA, else `data`."""
    if root is None:
        root = os.environ.get("VAE_EXP_DATA") or "data"
    if not str(root):
        raise UserError("data.root must name a folder, got ''")
    return Path(root).expanduser()


def _check_fits(protocol: str, sizes: dict[str, int]) -> None:
    """Refuse more images than MNIST has, naming the keys."""
    training, test = (mnist.FILES[part][0].shape[0] for part in ("training", "test"))
    drawn = ("train", "validation") if protocol == "standard" else ("train", "test", "validation")
    total = sum(sizes[name] for name in drawn)
    if total > training:
        keys = " + ".join(f"data.{name}_size" for name in drawn)
        raise UserError(
            f"{keys} must be at most {training:,} (MNIST's training file), got {total:,}"
        )
    if protocol == "standard" and sizes["test"] > test:
        raise UserError(
            f"data.test_size must be at most {test:,} (the test file), got {sizes['test']:,}"
        )


def _cut_mnist(
    root: Path,
    protocol: str,
    sizes: dict[str, int],
    *,
    timeout: float,
    mirrors: Sequence[str] = mnist.MIRRORS,
) -> dict[str, _Images]:
    training = mnist.load_mnist(root, "training", mirrors=mirrors, timeout=timeout)
    if protocol == "assignment":
        return _consecutive(training, sizes, "training images")
    test = mnist.load_mnist(root, "test", mirrors=mirrors, timeout=timeout)
    last = len(training[1])
    return {
        "train": _range(training, 0, sizes["train"], "training images"),
        "validation": _range(training, last - sizes["validation"], last, "training images"),
        "test": _range(test, 0, sizes["test"], "test images"),
    }


def _cut_digits(sizes: dict[str, int]) -> tuple[dict[str, _Images], str | None]:
    """The bundled digits in the assignment's order, and a notice if there are too few."""
    fitted, notice = fit_sizes(sizes, digits.COUNT), None
    if fitted != sizes:
        notice = (
            f"{sum(sizes.values()):,} images were asked for and there are {digits.COUNT:,}: sizes "
            f"cut to {', '.join(f'{name} {size:,}' for name, size in fitted.items())}"
        )
    return _consecutive(digits.load_digits(), fitted, "bundled digits"), notice


def fit_sizes(sizes: dict[str, int], available: int) -> dict[str, int]:
    """`sizes` if they fit into `available`, else cut in proportion, each at least 1."""
    wanted, left, fitted = sum(sizes.values()), available, dict(sizes)
    if wanted <= available:
        return fitted
    for name in sorted(sizes, key=lambda name: sizes[name]):
        fitted[name] = min(left, max(1, sizes[name] * available // wanted))
        left -= fitted[name]
    return fitted


def _consecutive(arrays: _Arrays, sizes: dict[str, int], what: str) -> dict[str, _Images]:
    train, test = sizes["train"], sizes["train"] + sizes["test"]
    return {
        "train": _range(arrays, 0, train, what),
        "validation": _range(arrays, test, test + sizes["validation"], what),
        "test": _range(arrays, train, test, what),
    }


def _range(arrays: _Arrays, first: int, end: int, what: str) -> _Images:
    images, labels = arrays
    return images[first:end], labels[first:end], f"{what} {first}-{end - 1}"


def _binarized_split(
    name: str,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    origin: str,
    *,
    mode: str,
    seed: int,
) -> Split:
    pixels = torch.from_numpy(images.copy())
    return Split(
        name=name,
        pixels=pixels,
        binary=binarize(pixels, mode, generator(seed, "binarization", name)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        origin=origin,
    )
