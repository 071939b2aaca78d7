"""An idx file is read exactly or refused by name."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vae_exp import files
from vae_exp.data.idx import idx_size, inflate, parse_idx, stored_limit
from vae_exp.errors import UserError

SHAPE = (5, 4, 3)
ARRAY = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
RAW = bytes((0, 0, 8, 3)) + struct.pack(">3I", *SHAPE) + ARRAY.tobytes()


def read(path: Path) -> np.ndarray:
    stored = files.read(path, stored_limit(SHAPE))
    return parse_idx(inflate(stored, str(path), limit=idx_size(SHAPE)), str(path), SHAPE)


@pytest.mark.parametrize(
    "packed", [RAW, gzip.compress(RAW), gzip.compress(RAW) + b"\0" * 512], ids=len
)
def test_an_idx_file_is_read_gzipped_or_not_whatever_its_name(tmp_path: Path, packed: bytes):
    path = tmp_path / "digits"
    path.write_bytes(packed)
    np.testing.assert_array_equal(read(path), ARRAY)


def test_the_size_of_an_idx_file_counts_its_header():
    assert idx_size(SHAPE) == len(RAW)


BAD = {
    "empty": (b"", "is empty"),
    "html": (b"\n<!DOCTYPE html><html><body>403</body></html>", "web page"),
    "truncated": (RAW[:-1], "wrong length: 75 bytes, expected 76"),
    "truncated header": (RAW[:10], "truncated"),
    "truncated gzip": (gzip.compress(RAW)[:-9], "truncated"),
    "gzip header only": (gzip.compress(RAW)[:8], "truncated"),
    "one byte too many": (RAW + b"\0", "more than the 76 bytes"),
    "wrong magic": (b"\0\0\x0d\x03" + RAW[4:], "starts with 00 00 0d 03, expected 00 00 08 03"),
    "labels for images": (
        bytes((0, 0, 8, 1)) + struct.pack(">I", 5) + bytes(5),
        "starts with 00 00 08 01",
    ),
    "wrong shape": (RAW[:4] + struct.pack(">3I", 4, 5, 3) + RAW[16:], "4 × 5 × 3, expected 5 × 4"),
    "fewer images": (RAW[:4] + struct.pack(">3I", 4, 4, 3) + RAW[16:-12], "4 × 4 × 3"),
    "huge sizes": (RAW[:4] + struct.pack(">3I", *3 * [2**32 - 1]) + RAW[16:], "4,294,967,295"),
    "bad checksum": (gzip.compress(RAW)[:-8] + bytes(8), "gzip stream is broken"),
    "not idx at all": (b"PK\x03\x04 a zip file", "starts with 50 4b 03 04"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD.keys())
def test_a_damaged_file_is_refused_in_one_line_with_its_name_and_what_is_wrong(
    tmp_path: Path, content: bytes, reason: str
):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz") as refusal:
        read(path)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_flipped_bit_of_a_gzipped_file_is_refused_or_leaves_its_content_alone(tmp_path: Path):
    packed, path = gzip.compress(RAW, mtime=0), tmp_path / "digits.gz"
    refused = 0
    for bit in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read(path), ARRAY)
        except UserError:
            refused += 1
    assert refused > 8 * (len(packed) - 18)


def test_a_gzip_bomb_is_never_unpacked_beyond_the_expected_size():
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"bomb\.gz holds more than the 76 bytes expected"):
            inflate(bomb, "bomb.gz", limit=idx_size(SHAPE))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


def test_a_folder_in_place_of_a_file_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UserError, match="is a folder, not a file"):
        read(tmp_path)
