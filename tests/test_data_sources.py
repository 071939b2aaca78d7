"""Data sets that are known by checksum lie apart, are read strictly, and are whole or refused."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refusal

from vae_exp.data import load_splits
from vae_exp.data.fetched import KnownFiles
from vae_exp.data.known import KnownFile, KnownText
from vae_exp.data.sources import WORDS, named
from vae_exp.data.sources.binarized_mnist import BinarizedMnist
from vae_exp.data.sources.fashion_mnist import FashionMnist
from vae_exp.errors import UserError

RAW = {
    name: bytes((0, 0, 8, len(shape)))
    + struct.pack(f">{len(shape)}I", *shape)
    + np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8).tobytes()
    for name, shape in (("images", (12, 4, 3)), ("labels", (12,)))
}
PACKED = {name: gzip.compress(raw, mtime=0) for name, raw in RAW.items()}


CLOTHES = {
    "training": tuple(
        KnownFile(name, shape, hashlib.sha256(PACKED[name]).hexdigest(), "clothes", packed=True)
        for name, shape in (("images", (12, 4, 3)), ("labels", (12,)))
    )
}


class Clothes(FashionMnist):
    """A small set in the form of Fashion-MNIST's."""

    files = CLOTHES
    folder = "clothes"
    mirrors = ()


BITS = np.random.default_rng(1).integers(0, 2, (7, 784), dtype=np.uint8)
TEXTS = {
    name: b"".join(" ".join(map(str, row)).encode() + b"\n" for row in BITS[rows].tolist())
    for name, rows in (("train", slice(4)), ("valid", slice(4, 5)), ("test", slice(5, 7)))
}


PARTS = {"training": (("train", 4), ("valid", 1)), "test": (("test", 2),)}
FILES = {
    part: tuple(
        KnownText(name, (count, 28, 28), hashlib.sha256(TEXTS[name]).hexdigest(), "binary")
        for name, count in names
    )
    for part, names in PARTS.items()
}


class Texts(BinarizedMnist):
    """A few images as Larochelle's files have them."""

    files = FILES


@pytest.fixture
def clothes(folder: Path) -> Path:
    (folder / "clothes").mkdir()
    for name, stored in PACKED.items():
        (folder / "clothes" / f"{name}.gz").write_bytes(stored)
    return folder


def test_files_of_the_same_names_lie_in_folders_of_their_own(
    clothes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clothes / "images").write_bytes(b"another set's")
    monkeypatch.setenv("VAE_EXP_DATA", str(clothes))
    found = Clothes().training()
    assert found.pixels.tobytes() == RAW["images"][16:]
    assert found.labels is not None
    assert found.labels.tobytes() == RAW["labels"][8:]
    assert Clothes().counts == {"training": 12}
    for root in (clothes, clothes / "clothes"):  # by data.root: above the files, or where they lie
        if root is clothes:
            (clothes / "images").unlink()
        assert Clothes().below(root).training().pixels.shape == (12, 4, 3)
    homes = [source.root for word in WORDS if isinstance(source := named(word), KnownFiles)]
    assert len(set(homes)) == len(homes) == 4


def test_a_file_that_is_another_one_is_named_and_left_alone(clothes: Path) -> None:
    file = clothes / "clothes" / "images.gz"
    for contents, told in (
        (RAW["images"], r"images\.gz is not gzipped, and clothes's files are known as gzipped"),
        (gzip.compress(RAW["images"][:-1] + b"\1"), r"its bytes have SHA-256 \w+…, expected"),
        (PACKED["labels"], "is not an idx file of 3-dimensional bytes"),
        (b"", "is empty"),
    ):
        file.write_bytes(contents)
        with pytest.raises(UserError, match=told):
            Clothes(clothes).training()
        assert file.read_bytes() == contents
        assert sorted(path.name for path in (clothes / "clothes").iterdir()) == [
            "images.gz",
            "labels.gz",
        ]


def test_the_fixed_binary_split_is_that_of_its_three_texts(folder: Path) -> None:
    for name, text in TEXTS.items():
        (folder / name).write_bytes(text)
    sizes = {"train_size": 4, "validation_size": 1, "test_size": 2}
    for how in ("threshold", "stochastic"):
        splits = load_splits(source=Texts(folder), protocol="standard", binarization=how, **sizes)
        found = torch.cat([splits.train.values, splits.validation.values, splits.test.values])
        assert np.array_equal(found.numpy(), BITS)
        assert splits.train.labels is None
    (folder / "valid").write_bytes(TEXTS["valid"] + b"\n")
    with pytest.raises(UserError, match="valid is damaged: it holds more than 1,568 bytes"):
        Texts(folder).training()
    (folder / "valid").write_bytes(TEXTS["valid"][:-1])
    with pytest.raises(UserError, match="valid has the wrong length: 1,567 bytes, expected 1,568"):
        Texts(folder).training()
    (folder / "valid").write_bytes(b"2" + TEXTS["valid"][1:])
    with pytest.raises(UserError, match="valid is not binary's: its uncompressed bytes have SHA"):
        Texts(folder).training()


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist", "binarized_mnist"])
def test_without_a_network_a_data_set_is_refused_in_one_line(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE_EXP_DATA", str(folder))
    kind = type(named(name))
    monkeypatch.setattr(kind, "mirrors", ("http://127.0.0.1:9/",))
    line = refusal(f"data={name}", "hydra.run.dir=run")
    assert f"is not in '{folder}/{name}' and cannot be fetched (http://127.0.0.1:9/ no conn" in line
    assert f"put {kind.caption if name != 'binarized_mnist' else 'binarized MNIST'}'s" in line
    assert not any(folder.iterdir())
