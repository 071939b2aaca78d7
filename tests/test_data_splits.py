"""Binarisation is exact, splits are disjoint, and what stands in for MNIST says so."""

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_exp.data import (
    Images,
    Split,
    binarize,
    check_data_settings,
    from_arrays,
    load_binarized_mnist,
    load_splits,
)
from vae_exp.data.cutting import fit_sizes
from vae_exp.data.fetched import Unavailable, data_root
from vae_exp.data.sources.auto import Auto
from vae_exp.data.sources.mnist import FILES, Mnist
from vae_exp.errors import UserError
from vae_exp.probability.streams import generator

REPOSITORY = Path(__file__).resolve().parents[1]
NOWHERE = ["http://127.0.0.1:9/"]
EVERY_GREY = torch.arange(256, dtype=torch.uint8)[None]


def test_threshold_is_above_one_half_exactly():
    binary = binarize(EVERY_GREY, "threshold")
    assert binary.dtype == torch.uint8
    assert binary[0, 127:129].tolist() == [0, 1]
    assert torch.equal(binary.bool(), EVERY_GREY.double() / 255 > 0.5)


@pytest.mark.parametrize("mode", ["stochastic", "dynamic"])
def test_a_pixel_is_drawn_white_as_often_as_its_intensity(mode: str):
    draws = 20_000
    binary = binarize(EVERY_GREY.expand(draws, -1), mode, generator(0, "test")).double()
    intensity = EVERY_GREY[0].double() / 255
    stderr = (intensity * (1 - intensity) / draws).sqrt()
    assert ((binary.mean(0) - intensity).abs() <= 4.5 * stderr).all()
    assert binary[:, 0].max() == 0
    assert binary[:, 255].min() == 1


def test_a_draw_is_a_function_of_its_generator():
    greys = EVERY_GREY.expand(50, -1)
    first, again, other = (binarize(greys, "stochastic", generator(s, "x")) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="threshold, stochastic or dynamic, got 'round'"):
        binarize(EVERY_GREY, "round")


def tensors(images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat pixels and labels."""
    return torch.tensor(images.pixels).flatten(1), torch.tensor(images.labels)


def test_the_assignment_trains_tests_and_validates_on_consecutive_images(mnist: Path):
    splits = load_splits(source="mnist", root=mnist)
    pixels, labels = tensors(Mnist(mnist, mirrors=[]).training())
    for split, first, end in (
        (splits.train, 0, 10_000),
        (splits.test, 10_000, 20_000),
        (splits.validation, 20_000, 22_000),
    ):
        assert torch.equal(split.pixels, pixels[first:end])
        assert torch.equal(split.labels, labels[first:end].long())
        assert split.origin == f"training images {first}-{end - 1}"
        assert torch.equal(split.images, (pixels[first:end] / 255 > 0.5).float())
        assert len(split) == end - first
    assert (splits.source.name, splits.binarization, splits.notice) == (
        "mnist",
        "threshold>0.5",
        None,
    )
    assert splits.caption == "MNIST, threshold > 0.5"


def test_the_standard_split_holds_out_the_last_training_images_and_tests_on_the_test_file(
    mnist: Path,
):
    splits = load_splits(
        source="mnist",
        root=mnist,
        protocol="standard",
        train_size=55_000,
        validation_size=5_000,
        test_size=10_000,
    )
    pixels, _ = tensors(Mnist(mnist, mirrors=[]).training())
    test_pixels, test_labels = tensors(Mnist(mnist, mirrors=[]).test())
    assert torch.equal(torch.cat([splits.train.pixels, splits.validation.pixels]), pixels)
    assert len(splits.validation) == 5_000
    assert torch.equal(splits.test.pixels, test_pixels)
    assert torch.equal(splits.test.labels, test_labels.long())


@pytest.mark.parametrize(
    ("sizes", "keys"),
    [
        ({"train_size": 40_000, "test_size": 15_000, "validation_size": 5_001}, "data.train_size"),
        (
            {"protocol": "standard", "train_size": 55_001, "validation_size": 5_000},
            "data.train_size",
        ),
        ({"protocol": "standard", "test_size": 10_001}, "data.test_size"),
    ],
)
def test_more_images_than_mnist_has_are_refused_by_key_before_any_file_is_read(
    tmp_path: Path, sizes: dict, keys: str
):
    with pytest.raises(UserError, match=rf"{keys}.* must be at most .*,000 .*, got .*,001"):
        load_splits(source=Auto(tmp_path, mirrors=NOWHERE), **sizes)


def test_the_draw_of_one_split_depends_on_the_seed_and_not_on_the_others():
    def load(**changes: int) -> dict[str, str]:
        chosen = {"train_size": 30, "validation_size": 20, "test_size": 10, "seed": 0} | changes
        splits = load_splits(source="digits", binarization="stochastic", **chosen)
        return {s.name: s.sha256 for s in (splits.train, splits.validation, splits.test)}

    base = load()
    assert load() == base
    assert load(validation_size=21)["test"] == base["test"]
    assert set(load(seed=1).values()).isdisjoint(base.values())


def test_the_draws_of_two_splits_are_independent():
    splits = load_splits(
        source="digits", binarization="stochastic", train_size=50, validation_size=1, test_size=50
    )
    train, test = splits.train, splits.test
    # One noise for both would make the brighter pixel white wherever the darker one is.
    assert ((train.pixels >= test.pixels) & (train.values < test.values)).any()


def test_the_sha256_of_a_split_is_that_of_its_binary_bytes():
    split = load_splits(source="digits", train_size=30, validation_size=2, test_size=2).train
    rows = bytes(int(pixel > 127) for row in split.pixels.tolist() for pixel in row)
    assert split.sha256 == hashlib.sha256(rows).hexdigest()


def test_auto_without_mnist_takes_the_digits_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    splits = load_splits(source=Auto(tmp_path / "none", mirrors=NOWHERE), train_size=100)
    assert splits.source.name == "digits"
    assert "not MNIST" in splits.caption
    assert splits.notice is not None
    for text in ("not MNIST", str(tmp_path), NOWHERE[0], "no connection", "sizes cut to train 14"):
        assert text in splits.notice
    assert [record.getMessage() for record in caplog.records] == [splits.notice]
    assert not (tmp_path / "none").exists()


def test_digits_asked_for_and_sufficient_need_no_notice(caplog: pytest.LogCaptureFixture):
    splits = load_splits(source="digits", train_size=100, validation_size=50, test_size=100)
    assert splits.notice is None
    assert not caplog.records
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [100, 50, 100]
    assert "not MNIST" in splits.caption
    assert splits.test.origin == "bundled digits 100-199"
    assert splits.validation.origin == "bundled digits 200-249"


def test_mnist_insists_and_says_where_it_looked_and_what_to_do(tmp_path: Path):
    with pytest.raises(Unavailable) as refusal:
        load_splits(source=Mnist(tmp_path, mirrors=NOWHERE))
    text = str(refusal.value)
    for part in (str(tmp_path), NOWHERE[0], "data.root", "VAE_EXP_DATA", "data.source=digits"):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize("source", [Auto, Mnist])
def test_a_damaged_mnist_is_never_silently_replaced_by_the_digits(
    tmp_path: Path, source: type[Auto | Mnist]
):
    damaged = tmp_path / f"{FILES['training'][1].name}.gz"
    damaged.write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\.gz is a web page") as refusal:
        load_splits(source=source(tmp_path, mirrors=NOWHERE))
    assert not isinstance(refusal.value, Unavailable)
    assert damaged.exists()


sizes_of_three = st.fixed_dictionaries(
    {name: st.integers(1, 60_000) for name in ("train", "validation", "test")}
)


@given(sizes=sizes_of_three, available=st.integers(3, 2_000))
def test_sizes_are_cut_in_proportion_and_never_to_nothing(sizes: dict[str, int], available: int):
    fitted, wanted = fit_sizes(sizes, available), sum(sizes.values())
    assert list(fitted) == list(sizes)
    assert sum(fitted.values()) <= available
    assert min(fitted.values()) >= 1
    if wanted <= available:
        assert fitted == sizes
    else:
        for name, size in sizes.items():
            assert abs(fitted[name] - size * available / wanted) <= 3


def test_the_assignments_loader_returns_the_assignments_images(mnist: Path):
    (x_train, y_train), (x_test, y_test) = load_binarized_mnist(mnist, 30, 20)
    splits = load_splits(source="mnist", root=mnist, train_size=30, test_size=20)
    assert torch.equal(x_train, splits.train.images)
    assert torch.equal(x_test, splits.test.images)
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert y_test.dtype == torch.int64
    assert y_test.shape == (20,)
    assert x_train.dtype == torch.float32
    assert set(x_train.unique().tolist()) == {0.0, 1.0}
    with pytest.raises(UserError, match=r"at most 60,000 .*, got 60,001"):
        load_binarized_mnist(mnist, 60_000, 1)


def test_the_folder_is_the_one_given_else_the_environments_else_data(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("VAE_EXP_DATA", "/elsewhere")
    assert data_root("/here") == Path("/here")
    assert data_root(None) == Path("/elsewhere")
    monkeypatch.delenv("VAE_EXP_DATA")
    assert data_root(None) == Path("data")
    with pytest.raises(UserError, match=r"data\.root must name a folder, got ''"):
        data_root("")


def split_of(pixels: torch.Tensor, binary: torch.Tensor, labels: torch.Tensor) -> Split:
    return Split(name="train", pixels=pixels, values=binary, labels=labels, origin="own images")


def test_a_split_whose_parts_disagree_is_refused():
    pixels, labels = torch.zeros(3, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    assert len(split_of(pixels, pixels, labels)) == 3
    with pytest.raises(UserError, match="own images: 3 images but 2 labels"):
        split_of(pixels, pixels, labels[:2])
    with pytest.raises(UserError, match=r"own images: .* got torch\.float32"):
        split_of(pixels.float() * torch.nan, pixels, labels)
    with pytest.raises(UserError, match=r"own images: .*not every pixel has a value in 0..1"):
        split_of(pixels, pixels + 2, labels)
    with pytest.raises(UserError, match=r"own images: .*not every pixel has a value in 0..1"):
        split_of(pixels, pixels[:2], labels)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"train_size": 0}, "data.train_size must be a positive integer, got 0"),
        ({"test_size": -1}, "data.test_size must be a positive integer, got -1"),
        ({"validation_size": 1.5}, "data.validation_size must be a non-negative integer, got 1.5"),
        ({"train_size": True}, "data.train_size must be a positive integer, got True"),
        ({"batch_size": "many"}, "batch_size must be a positive integer, got 'many'"),
        ({"seed": -1}, "seed must be a non-negative integer, got -1"),
        (
            {"source": "cifar"},
            "data.source must be one of auto, mnist, fashion_mnist, kmnist, binarized_mnist, "
            "digits, got 'cifar'",
        ),
        ({"protocol": None}, "data.protocol must be one of assignment, standard, got None"),
        (
            {"binarization": ["threshold"]},
            "data.binarization must be one of threshold, stochastic, dynamic, none, "
            "got ['threshold']",
        ),
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_line_that_names_its_key(
    setting: dict, message: str
):
    with pytest.raises(UserError) as refusal:
        check_data_settings(**setting)
    assert str(refusal.value) == message


def imported_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


def test_settings_need_no_torch_and_splits_need_no_lightning():
    light = imported_after("from vae_exp.data import check_data_settings")
    assert {"torch", "numpy"}.isdisjoint(light)
    heavy = {"pytorch_lightning", "sklearn", "pooch", "requests", "hydra"}
    assert heavy.isdisjoint(imported_after("from vae_exp.data import load_splits, ImageData"))


@pytest.mark.parametrize("train_size", [1, 7, 10, 13, 30])
def test_test_images_stay_where_they_are_whatever_number_trains(train_size: int) -> None:
    images = np.arange(50, dtype=np.uint8)[:, None, None].repeat(2, 1)
    sizes = {"train_size": train_size, "validation_size": 4, "test_size": 6}
    splits = load_splits(source=from_arrays(images), test_from=10, binarization="none", **sizes)
    shown = {
        part.name: part.pixels[:, 0].tolist()
        for part in (splits.train, splits.validation, splits.test)
    }
    others = [index for index in range(50) if not 10 <= index < 20]
    assert shown == {
        "train": others[:train_size],
        "validation": [16, 17, 18, 19],
        "test": [10, 11, 12, 13, 14, 15],
    }
    far = train_size > 10
    assert splits.train.origin == f"images 0-{min(train_size, 10) - 1}" + (
        f" and 20-{train_size + 9}" if far else ""
    )
    few = load_splits(source=from_arrays(images), test_from=41, **sizes)
    assert few.test.origin == f"images {train_size}-{train_size + 5}"  # there are not enough


def test_no_images_validate_if_none_are_asked_for() -> None:
    images = np.zeros((9, 2, 2), np.uint8)
    for protocol in ("assignment", "standard"):
        sizes = {"train_size": 6, "validation_size": 0, "test_size": 6}
        splits = load_splits(source=from_arrays(images), protocol=protocol, **sizes)
        assert len(splits.validation) == 0
        assert (len(splits.train), len(splits.test)) == (4, 4)
        assert splits.validation.images.shape == (0, 4)
        with pytest.raises(UserError, match=r"split=validation has no images \(data\.validation_s"):
            splits.named("validation")
