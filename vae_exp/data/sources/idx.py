"""Images of a person's own in idx files, of any height and width, gzipped or not."""

from collections.abc import Sequence
from pathlib import Path

from vae_exp.data.contracts import Images, Source
from vae_exp.data.idx import read_idx
from vae_exp.errors import UserError


class Idx(Source):
    """Images [N, H, W] or [N, H, W, 3] of unsigned bytes, and labels [N] if there are any.

    Paths are relative to `data.root` if it is given. The files are only read. Raises UserError, as
    one line that names the file, if they are not what they should be.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path | None = None,
        test_images: str | Path | None = None,
        test_labels: str | Path | None = None,
        name: str = "idx",
        classes: Sequence[str] = (),
        root: str | Path = "",
    ) -> None:
        if test_labels is not None and test_images is None:
            raise UserError("data.source.test_labels needs data.source.test_images beside it")
        self.images, self.labels = images, labels
        self.test_images, self.test_labels = test_images, test_labels
        self.name = self.caption = name
        self.classes = tuple(classes)
        self.root = Path(root)

    def training(self) -> Images:
        """The images of the first pair of files."""
        return self._read("training", self.images, self.labels)

    def test(self) -> Images | None:
        """Those of the second pair, if it is given."""
        if self.test_images is None:
            return None
        return self._read("test", self.test_images, self.test_labels)

    def below(self, root: Path) -> "Idx":
        """With the files in another folder."""
        return Idx(
            self.images,
            self.labels,
            self.test_images,
            self.test_labels,
            self.name,
            self.classes,
            root,
        )

    def _read(self, part: str, images: str | Path, labels: str | Path | None) -> Images:
        pixels = read_idx(self._path(images), (3, 4))
        numbers = None if labels is None else read_idx(self._path(labels), (1,))
        if numbers is not None and len(numbers) != len(pixels):
            raise UserError(
                f"{labels} holds {len(numbers):,} labels and {images} {len(pixels):,} images: "
                "a label an image is expected"
            )
        return Images(pixels, numbers, f"{part} images")

    def _path(self, file: str | Path) -> Path:
        return self.root / Path(file).expanduser()
