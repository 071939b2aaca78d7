"""Images of a person's own as a folder of pictures, of which a subfolder is a class."""

import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_exp import files
from vae_exp.data.contracts import COLOURS, Images, Source
from vae_exp.data.idx import LIMIT
from vae_exp.errors import UserError, first_line

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # which no other program reads
LARGEST = 1 << 24  # pixels of a picture: a small file can announce very many
BYTES = 1 << 28  # of a picture's file
GREY = ("1", "L")
READ = (*GREY, "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")
PLAIN = re.compile(r"[\w .,()+=-]{1,60}")  # a name that no figure or table takes for markup


class ImageFolder(Source):
    """The pictures below a folder, all of one size; with subfolders, each of these is a class.

    They are grey if all of them are, or if ``grey`` asks for it, and else coloured; what is
    transparent shows black, the 0 of an image. Their order is that of the SHA-256 of their names,
    so that classes are mixed. ``folder`` and ``test_folder`` are relative to `data.root` if it is
    given. The files are only read. Raises UserError, as one line that names the file, if one is no
    picture or of another size.
    """

    def __init__(
        self,
        folder: str | Path,
        test_folder: str | Path | None = None,
        grey: bool = False,
        name: str = "pictures",
        root: str | Path = "",
    ) -> None:
        self.folder, self.test_folder = folder, test_folder
        self.grey = grey
        self.name = self.caption = name
        self.root = Path(root)
        self.classes: tuple[str, ...] = ()

    def training(self) -> Images:
        """The pictures of the first folder."""
        pictures, classes = _found(self._path(self.folder))
        self.classes = tuple(
            name if PLAIN.fullmatch(name) else str(label) for label, name in enumerate(classes)
        )
        return self._read("training", self._path(self.folder), pictures, classes)

    def test(self) -> Images | None:
        """Those of the second, if it is given, whose classes are those of the first."""
        if self.test_folder is None:
            return None
        classes = _found(self._path(self.folder))[1]
        pictures, own = _found(self._path(self.test_folder))
        if own != classes:
            raise UserError(
                f"{self.test_folder} must have the subfolders of {self.folder}, "
                f"{', '.join(classes) or 'none'}, got {', '.join(own) or 'none'}"
            )
        return self._read("test", self._path(self.test_folder), pictures, classes)

    def below(self, root: Path) -> "ImageFolder":
        """With the folders in another one."""
        return ImageFolder(self.folder, self.test_folder, self.grey, self.name, root)

    def _path(self, folder: str | Path) -> Path:
        return self.root / Path(folder).expanduser()

    def _read(
        self, part: str, folder: Path, pictures: list[Path], classes: tuple[str, ...]
    ) -> Images:
        first = picture(pictures[0], self.grey)
        announced = len(pictures) * first.size
        if announced * (1 if first.ndim == COLOURS else COLOURS) > LIMIT:
            raise UserError(
                f"{folder} holds {len(pictures):,} pictures of {_size(first)}: more than "
                f"{LIMIT:,} bytes, give fewer or smaller ones"
            )
        found = [first]
        for path in pictures[1:]:
            found.append(picture(path, self.grey))
            if found[-1].shape[:2] != first.shape[:2]:
                raise UserError(
                    f"{path} is {_size(found[-1])} pixels and {pictures[0]} {_size(first)}: "
                    "pictures of one size are expected"
                )
        coloured = any(image.ndim == COLOURS for image in found)
        pixels = np.stack([_coloured(image) if coloured else image for image in found])
        labels = None
        if classes:
            numbers = {name: label for label, name in enumerate(classes)}
            labels = np.array([numbers[path.relative_to(folder).parts[0]] for path in pictures])
        return Images(pixels, labels, f"{part} images")


def _found(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The pictures below a folder, and the names of their classes; hidden files are left out."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of pictures")
    paths = [path for path in folder.rglob("*") if not _is_hidden(path.relative_to(folder))]
    pictures = [path for path in paths if not path.is_dir()]
    if not pictures:
        raise UserError(f"{folder} holds no pictures")
    classes = {path.relative_to(folder).parts[0] for path in pictures if path.parent != folder}
    beside = [path for path in pictures if path.parent == folder]
    if classes and beside:
        raise UserError(
            f"{beside[0]} lies beside the subfolders {', '.join(sorted(classes))[:60]}, which are "
            "classes: put every picture into one of them, or none"
        )
    ordered = sorted(pictures, key=lambda path: _digest(path.relative_to(folder)))
    return ordered, tuple(sorted(classes))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode("utf-8", "surrogateescape")).hexdigest()


def picture(path: Path, grey: bool = False) -> npt.NDArray[np.uint8]:
    """The pixels of a picture in a file: [H, W] if it is grey, else [H, W, 3].

    Raises UserError if the file is none, has more than 8 bits a pixel and colour, or is too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    stored = files.read(path, BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(stored), formats=FORMATS)
        width, height = opened.size
        if width * height > LARGEST:
            raise UserError(
                f"{path} announces {height:,} × {width:,} pixels: at most {LARGEST:,} are read"
            )
        if opened.mode not in READ:
            raise UserError(
                f"{path} has pixels of the kind {opened.mode}: 8 bits a colour are expected"
            )
        return np.array(_opaque(ImageOps.exif_transpose(opened), grey))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is no picture: {', '.join(FORMATS)} are read") from error
    except Exception as error:
        raise UserError(f"{path} is damaged: {first_line(error)[:120]}") from error


def _opaque(image: Any, grey: bool) -> Any:
    """An image without its transparency, grey if it was or is to be."""
    from PIL import Image

    was_grey = image.mode in (*GREY, "LA")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
    return image.convert("L" if grey or was_grey else "RGB")


def _coloured(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return image if image.ndim == COLOURS else np.repeat(image[..., None], COLOURS, axis=2)


def _size(image: npt.NDArray[np.uint8]) -> str:
    return f"{image.shape[0]} × {image.shape[1]}"
