"""The idx format of MNIST (http://yann.lecun.com/exdb/mnist), gzipped or not, read strictly.

A file is `00 00 08 n`, then n big-endian 32-bit sizes, then one unsigned byte a value.
"""

import math
import struct
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vae_exp import files
from vae_exp.errors import UserError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_GZIP_OVERHEAD = 65_536
LIMIT = 4 << 30  # bytes of an array whose shape is not known beforehand


def idx_size(shape: tuple[int, ...]) -> int:
    """Bytes of an uncompressed idx file of unsigned bytes [*shape], header included."""
    return 4 + 4 * len(shape) + math.prod(shape)


def stored_limit(shape: tuple[int, ...]) -> int:
    """More bytes than any sensible file of [*shape] takes, gzipped or not."""
    return idx_size(shape) + _GZIP_OVERHEAD


def is_gzip(stored: bytes) -> bool:
    """Whether bytes begin as a gzip stream does."""
    return stored.startswith(_GZIP_MAGIC)


def read_idx(path: Path, dimensions: Collection[int]) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in any idx file that has so many ``dimensions``.

    Raises UserError, with the file's name and what is wrong, as `inflate` and `parse_idx` do, and
    if it holds nothing or more than LIMIT bytes.
    """
    stored, name = files.read(path, LIMIT), str(path)
    head, longest = stored, 4 + 4 * max(dimensions)
    if is_gzip(stored):
        try:
            head = zlib.decompressobj(wbits=31).decompress(stored, longest)
        except zlib.error as error:
            raise UserError(f"{name} is damaged: its gzip stream is broken ({error})") from error
    found = next((n for n in dimensions if head[:4] == bytes((0, 0, _UNSIGNED_BYTE, n))), None)
    shape = struct.unpack(f">{found}I", head[4 : 4 + 4 * found]) if found else (0,)
    if found is None or len(head) < 4 + 4 * found:
        allowed = " or ".join(map(str, dimensions))
        raise UserError(
            f"{name} is not an idx file of {allowed}-dimensional bytes: "
            f"it starts with {head[:4].hex(' ') or 'nothing'}"
        )
    if not 0 < math.prod(shape) <= LIMIT:
        raise UserError(f"{name} holds an array of {_times(shape)}: at most {LIMIT:,} bytes")
    return parse_idx(inflate(stored, name, limit=idx_size(shape)), name, shape)


def inflate(stored: bytes, name: str, *, limit: int) -> bytes:
    """`stored` gunzipped if it is gzip, else as it is; never more than `limit` + 1 bytes.

    Raises UserError if there is nothing, a web page, a broken gzip stream or too much.
    """
    if not stored:
        raise UserError(f"{name} is empty, expected {limit:,} bytes of idx data")
    if stored.lstrip()[:1] == b"<":
        raise UserError(f"{name} is a web page (HTML), not an idx file")
    raw = stored
    if is_gzip(stored):
        stream = zlib.decompressobj(wbits=31)
        try:
            raw = stream.decompress(stored, limit + 1)
        except zlib.error as error:
            raise UserError(f"{name} is damaged: its gzip stream is broken ({error})") from error
        if not stream.eof and len(raw) <= limit:
            raise UserError(f"{name} is truncated: its gzip stream ends after {len(raw):,} bytes")
    if len(raw) > limit:
        raise UserError(f"{name} holds more than the {limit:,} bytes expected")
    return raw


def parse_idx(raw: bytes, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """The array [*shape] in the uncompressed idx bytes `raw`.

    Raises UserError if magic, number of dimensions, sizes or length are not those of [*shape].
    """
    header = 4 + 4 * len(shape)
    magic = bytes((0, 0, _UNSIGNED_BYTE, len(shape)))
    if raw[:4] != magic:
        raise UserError(
            f"{name} is not an idx file of {len(shape)}-dimensional bytes: "
            f"it starts with {raw[:4].hex(' ')}, expected {magic.hex(' ')}"
        )
    if len(raw) < header:
        raise UserError(f"{name} is truncated: {len(raw)} bytes, its header alone has {header}")
    found = struct.unpack(f">{len(shape)}I", raw[4:header])
    if found != shape:
        raise UserError(f"{name} holds an array of {_times(found)}, expected {_times(shape)}")
    if len(raw) != idx_size(shape):
        raise UserError(
            f"{name} has the wrong length: {len(raw):,} bytes, expected {idx_size(shape):,}"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{size:,}" for size in shape)
