"""What a data set must give; a source is one class in one module. Imports nothing heavy."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vae_exp.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COLOURS = 3  # red, green, blue
LONGEST = 80  # characters of a name or a caption


@dataclass(frozen=True, eq=False)
class Images:
    """The images of one file, and their labels if there are any.

    `pixels` [N, H, W] or [N, H, W, 3] uint8 in 0..255, 0 without ink; `labels` [N] integers from 0,
    or None; `what` names them in captions, with their numbers. Raises UserError for anything else.
    """

    pixels: "npt.NDArray[np.uint8]"
    labels: "npt.NDArray[Any] | None" = None
    what: str = "images"

    def __post_init__(self) -> None:
        import numpy as np

        shape, kind = np.shape(self.pixels), getattr(self.pixels, "dtype", type(self.pixels))
        if kind != np.uint8:
            raise UserError(f"{self.what} must be uint8, grey in 0..255, got {kind}")
        if len(shape) in (3, 4) and not shape[0]:
            raise UserError(f"{self.what}: there are none, got {list(shape)}")
        if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] != COLOURS):
            raise UserError(
                f"{self.what} must be [N, H, W], or [N, H, W, 3] in colour, got {list(shape)}"
            )
        if self.labels is None:
            return
        if np.shape(self.labels) != shape[:1]:
            raise UserError(
                f"{self.what}: a label an image is expected, [{shape[0]}], "
                f"got {list(np.shape(self.labels))}"
            )
        if not np.issubdtype(self.labels.dtype, np.integer) or self.labels.min() < 0:
            raise UserError(f"{self.what}: labels must be integers from 0")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (height, width), or (height, width, 3) in colour."""
        return self.pixels.shape[1:]


@dataclass(frozen=True, eq=False)
class Found:
    """What a source read: its files, which source it was, and what a reader must know of it."""

    source: "Source"
    training: Images
    test: Images | None = None
    notice: str | None = None


class Source(ABC):
    """A data set. Its keywords say where its images lie; nothing is read before it is asked.

    `name` stands in metrics.json, by which a run's images are known again; `caption` stands below
    figures. A label is shown by its place in `classes`, or as its number. `counts` tells how many
    images "training" and "test" hold, if that is known beforehand: sizes that do not fit are then
    refused before anything is read, and else cut in proportion, with a notice.
    """

    name: str
    caption: str
    classes: Sequence[str] = ()
    counts: Mapping[str, int] = MappingProxyType({})
    kind = "images"  # what a caption calls them

    @abstractmethod
    def training(self) -> Images:
        """The images to cut into training, validation and, if there are no others, test images."""

    def test(self) -> Images | None:
        """Those that were set apart for tests; None if there are none."""
        return None

    def read(self, test: bool) -> Found:
        """The files, with that of tests only if it is asked for."""
        return Found(self, self.training(), self.test() if test else None)

    def below(self, root: Path) -> "Source":
        """The same data set in another folder, by `data.root`; itself if it has no files there."""
        return self

    def recalled(self, name: str) -> "Source":
        """The source of the images that a run calls by a name.

        Raises UserError if its images have another name.
        """
        if name != self.name:
            raise UserError(f"must be {self.name}, got {name!r}")
        return self

    def class_name(self, label: int) -> str:
        """What the images of a label show."""
        return self.classes[label] if label < len(self.classes) else str(label)

    def some(self, label: int | None) -> str:
        """Images of a label in the plural, such as "3s"; of any class if it is None."""
        if label is None or self.classes:
            of = "" if label is None else f" of class {self.class_name(label)}"
            return self.kind + of
        return f"{label}s"


def checked(source: Source) -> Source:
    """A source that names itself in one plain line; raises UserError if it does not."""
    for key in ("name", "caption"):
        text = getattr(source, key, None)
        plain = isinstance(text, str) and text.isprintable() and "$" not in text
        if not plain or not 0 < len(str(text)) <= LONGEST:
            raise UserError(
                f"data.source: {key} must be a line of at most {LONGEST} characters without $, "
                f"got {text!r}"
            )
    return source
