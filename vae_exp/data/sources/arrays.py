"""Images of a person's own in arrays: in memory, or in NumPy's files."""

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_exp import files
from vae_exp.data.contracts import Images, Source
from vae_exp.data.idx import LIMIT
from vae_exp.errors import UserError, first_line


class Arrays(Source):
    """Arrays in memory."""

    def __init__(
        self, training: Images, test: Images | None, name: str, classes: Sequence[str]
    ) -> None:
        self._training, self._test = training, test
        self.name = self.caption = name
        self.classes = tuple(classes)

    def training(self) -> Images:
        """Those that are cut into splits."""
        return self._training

    def test(self) -> Images | None:
        """Those that were set apart."""
        return self._test


class ArrayFile(Source):
    """An .npz of `images` and, if there are any, `labels`; or an .npy of images alone.

    Paths are relative to `data.root` if it is given. The files are only read, and nothing in them
    is executed. Raises UserError, as one line that names the file, if they are not what they should
    be.
    """

    def __init__(
        self,
        file: str | Path,
        test_file: str | Path | None = None,
        name: str = "arrays",
        classes: Sequence[str] = (),
        root: str | Path = "",
    ) -> None:
        self.file, self.test_file = file, test_file
        self.name = self.caption = name
        self.classes = tuple(classes)
        self.root = Path(root)

    def training(self) -> Images:
        """The images of the first file."""
        return read_arrays(self.root / Path(self.file).expanduser(), "training images")

    def test(self) -> Images | None:
        """Those of the second, if it is given."""
        if self.test_file is None:
            return None
        return read_arrays(self.root / Path(self.test_file).expanduser(), "test images")

    def below(self, root: Path) -> "ArrayFile":
        """With the files in another folder."""
        return ArrayFile(self.file, self.test_file, self.name, self.classes, root)


def from_arrays(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[Any] | None = None,
    *,
    test_images: npt.NDArray[np.uint8] | None = None,
    test_labels: npt.NDArray[Any] | None = None,
    name: str = "arrays",
    classes: Sequence[str] = (),
) -> Source:
    """A source for `load_splits` or `ImageData` from images [N, H, W] or [N, H, W, 3], uint8.

    labels [N] are integers from 0, named by `classes`. The test images are for the protocol
    "standard". Raises UserError for anything else.
    """
    test = None if test_images is None else Images(test_images, test_labels, "test images")
    return Arrays(Images(images, labels, "images"), test, name, classes)


def read_arrays(path: Path, what: str) -> Images:
    """The images and labels in a file of NumPy's; raises UserError if it holds no such arrays."""
    stored = files.read(path, LIMIT)
    if stored.startswith(b"PK"):
        found = {"images": None, "labels": None} | _members(stored, path)
    else:
        found = {"images": _array(io.BytesIO(stored), path), "labels": None}
    pixels = found["images"]
    if pixels is None:
        raise UserError(
            f"{path} holds no array called images: np.savez(file, images=.., labels=..)"
        )
    try:
        return Images(pixels, found["labels"], what)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _members(stored: bytes, path: Path) -> dict[str, npt.NDArray[Any] | None]:
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            names = {Path(name).stem: name for name in archive.namelist()}
            return {
                key: _array(archive.open(names[key]), path, f"{key} of ")
                for key in ("images", "labels")
                if key in names
            }
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}") from error


def _array(file: Any, path: Path, what: str = "") -> npt.NDArray[Any]:
    """The array in an .npy file; its header is held to LIMIT before anything is unpacked."""
    reader = {(1, 0): np.lib.format.read_array_header_1_0}
    reader[(2, 0)] = np.lib.format.read_array_header_2_0
    try:
        with file:
            version = np.lib.format.read_magic(file)
            if version not in reader:
                raise ValueError(f"version {version} of the format is not read")
            shape, by_columns, kind = reader[version](file)
            size = math.prod(shape) * kind.itemsize
            if kind.hasobject or size > LIMIT:
                raise ValueError(f"{shape} of {kind}, more than {LIMIT:,} bytes or not numbers")
            values = file.read(size + 1)
            if len(values) != size:
                raise ValueError(f"{size:,} bytes are announced and others are there")
            order = "F" if by_columns else "C"
            return np.frombuffer(values, kind).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]
    except (ValueError, EOFError, SyntaxError, zipfile.BadZipFile, zlib.error, OSError) as error:
        raise UserError(f"{what}{path} is not an array of NumPy's: {first_line(error)}") from error
