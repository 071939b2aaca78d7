"""Files of which the contents are known beforehand, and are recognised by a checksum."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_exp.data.idx import idx_size, inflate, is_gzip, parse_idx, stored_limit
from vae_exp.errors import UserError

_LINE = 2 * 784  # bytes of an image in text: a digit and a blank, or a newline, for each pixel


@dataclass(frozen=True)
class KnownFile:
    """An idx file: its name, the array in it, the SHA-256 of its uncompressed bytes, its set.

    ``packed``: the SHA-256 is that of the gzipped file, which is then the only form that is read.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str
    of: str = "MNIST"
    packed: bool = False

    @property
    def served(self) -> str:
        """What a mirror calls it."""
        return f"{self.name}.gz"

    @property
    def limit(self) -> int:
        """More bytes than the file takes as it is stored."""
        return stored_limit(self.shape)

    def verified(self, stored: bytes, where: str) -> bytes:
        """The uncompressed bytes of the file that is ``stored``; raises UserError if it is not."""
        if self.packed and stored and not is_gzip(stored):
            raise UserError(
                f"{where} is not gzipped, and {self.of}'s files are known as gzipped ones: put "
                f"{self.served} there, or read it by data=idx"
            )
        raw = inflate(stored, where, limit=idx_size(self.shape))
        parse_idx(raw, where, self.shape)
        self.check(stored if self.packed else raw, where)
        return raw

    def check(self, contents: bytes, where: str) -> None:
        """Raise UserError if the contents are not those of the file."""
        found = hashlib.sha256(contents).hexdigest()
        if found != self.sha256:
            what = "its bytes" if self.packed else "its uncompressed bytes"
            raise UserError(
                f"{where} is not {self.of}'s: {what} have SHA-256 {found[:12]}…, "
                f"expected {self.sha256[:12]}…"
            )

    def array(self, raw: bytes) -> npt.NDArray[np.uint8]:
        """What the uncompressed bytes hold."""
        return parse_idx(raw, self.name, self.shape)


@dataclass(frozen=True)
class KnownText(KnownFile):
    """A text of 28×28 images, a line each: 784 digits 0 or 1 with a blank between."""

    @property
    def served(self) -> str:
        """Its own name."""
        return self.name

    @property
    def limit(self) -> int:
        """Its very size."""
        return _LINE * self.shape[0]

    def verified(self, stored: bytes, where: str) -> bytes:
        """The text, if its size and its contents are known; raises UserError if they are not."""
        if len(stored) != self.limit:
            raise UserError(
                f"{where} has the wrong length: {len(stored):,} bytes, expected {self.limit:,}"
            )
        self.check(stored, where)
        return stored

    def array(self, raw: bytes) -> npt.NDArray[np.uint8]:
        """The images, 0 or 255."""
        digits = np.frombuffer(raw, dtype=np.uint8).reshape(self.shape[0], -1, 2)[..., 0]
        pixels = np.where(digits == ord("1"), np.uint8(255), np.uint8(0))
        return pixels.reshape(self.shape)
