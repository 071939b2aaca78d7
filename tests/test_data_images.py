"""A folder of pictures is read as it stands, and what is none is refused by its name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import refusal
from PIL import Image

from vae_exp.data import load_splits
from vae_exp.data.sources import images as source
from vae_exp.data.sources.images import ImageFolder, picture
from vae_exp.errors import UserError

SIZES = {"train_size": 8, "validation_size": 2, "test_size": 2}


def pixels(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, image: npt.NDArray[np.uint8], mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image, mode).save(path)


@pytest.fixture
def coloured(folder: Path) -> Path:
    """Twelve pictures in two classes, the second with a picture further down, and a hidden file."""
    for index in range(12):
        place = Path("sky") if index < 5 else Path("sea", "far") if index == 11 else Path("sea")
        save(folder / "mine" / place / f"{index:02}.png", pixels(index, 5, 4, 3))
    (folder / "mine" / ".hidden").write_text("not a picture")
    return folder / "mine"


def test_pictures_keep_their_pixels_and_are_of_the_class_of_their_subfolder(coloured: Path) -> None:
    splits = load_splits(source=ImageFolder(coloured), binarization="none", **SIZES)
    parts = (splits.train, splits.test, splits.validation)
    found = torch.cat([part.pixels for part in parts]).reshape(-1, 5, 4, 3).numpy()
    labels = torch.cat([part.labels for part in parts if part.labels is not None])
    known = {pixels(index, 5, 4, 3).tobytes(): index for index in range(12)}
    order = [known[image.tobytes()] for image in found]
    assert sorted(order) == list(range(12))
    assert splits.source.classes == ("sea", "sky")
    assert labels.tolist() == [1 if index < 5 else 0 for index in order]
    assert order != sorted(order)  # one class after the other would train on one alone
    again = load_splits(source=ImageFolder("mine", root=coloured.parent), **SIZES)
    assert torch.equal(again.train.pixels, splits.train.pixels)


def test_a_picture_is_grey_only_if_all_are_or_if_it_is_asked_for(coloured: Path) -> None:
    sky = coloured / "sky"
    assert ImageFolder(sky, grey=True).training().shape == (5, 4)
    save(sky / "grey.png", pixels(0, 5, 4))
    mixed = ImageFolder(sky).training()
    assert mixed.labels is None
    assert mixed.shape == (5, 4, 3)
    grey = [image for image in mixed.pixels if (image == image[..., :1]).all()]
    assert np.array_equal(grey, [np.repeat(pixels(0, 5, 4)[..., None], 3, 2)])


def test_what_is_transparent_shows_black_and_jpeg_and_palettes_are_read(folder: Path) -> None:
    rgba = pixels(1, 5, 4, 4)
    rgba[..., 3] = np.where(np.arange(4) < 2, 0, 255)
    save(folder / "seen.png", rgba)
    seen = picture(folder / "seen.png")
    assert (seen[:, :2] == 0).all()
    assert np.array_equal(seen[:, 2:], rgba[:, 2:, :3])
    flat = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    Image.fromarray(flat).save(folder / "flat.jpg")
    Image.fromarray(flat).convert("P").save(folder / "flat.gif")
    assert abs(picture(folder / "flat.jpg").astype(int) - flat).max() < 4
    assert picture(folder / "flat.gif").shape == (8, 8, 3)
    Image.fromarray(pixels(0, 5, 4) > 127).save(folder / "bits.png")
    assert np.array_equal(picture(folder / "bits.png"), 255 * (pixels(0, 5, 4) > 127))


def bomb(path: Path, side: int) -> None:
    """A PNG of a few bytes that announces side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_a_file_that_is_no_picture_or_of_another_size_is_refused_by_its_name(
    folder: Path, coloured: Path
) -> None:
    bad = coloured / "sea" / "bad.png"

    def told() -> str:
        line = refusal("data=images", "data.source.folder=mine", "hydra.run.dir=run")
        assert line.startswith("mine/sea/"), line
        return line

    save(bad, pixels(0, 6, 4, 3))
    line = told()
    assert "mine/sea/bad.png" in line
    assert "6 × 4" in line
    assert "5 × 4" in line
    bad.write_text("no picture")
    assert "mine/sea/bad.png is no picture: PNG, JPEG" in told()
    bad.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n")  # for another program
    assert "is no picture" in told()
    whole = (coloured / "sea" / "05.png").read_bytes()
    bad.write_bytes(whole[:-30])
    assert "mine/sea/bad.png is damaged" in told()
    for side in (1 << 13, 10_000, 40_000):  # more than we, and than Pillow, take
        bomb(bad, side)
        assert f"mine/sea/bad.png {'announces' if side < 20_000 else 'is damaged'}" in told()
    Image.fromarray(pixels(0, 5, 4).astype(np.uint16) * 256).save(bad)
    assert "pixels of the kind I;16: 8 bits a colour are expected" in told()
    assert not (folder / "run").exists()


def test_folders_that_hold_no_classes_or_two_sorts_of_pictures_are_refused(
    folder: Path, coloured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, told in (("gone", "gone is no folder of pictures"), ("empty", "holds no pictures")):
        (folder / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=told):
            ImageFolder(folder / name).training()
    with pytest.raises(UserError, match=r"must have the subfolders of .*mine, sea, sky, got none"):
        ImageFolder(coloured, coloured / "sky").test()
    save(coloured / "stray.png", pixels(0, 5, 4, 3))
    with pytest.raises(UserError, match=r"stray\.png lies beside the subfolders sea, sky"):
        ImageFolder(coloured).training()
    monkeypatch.setattr(source, "LIMIT", 5 * 60 - 1)
    with pytest.raises(UserError, match="holds 5 pictures of 5 × 4: more than 299 bytes"):
        ImageFolder(coloured / "sky").training()


def test_a_class_whose_name_is_markup_goes_by_its_number(folder: Path) -> None:
    for name in ("$x$", "plain"):
        save(folder / name / "0.png", pixels(0, 3, 3))
    found = ImageFolder(folder)
    found.training()
    assert found.classes == ("0", "plain")
