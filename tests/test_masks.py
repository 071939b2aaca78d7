"""A mask names what is visible, in the orientation that a person means."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.evaluation.masks import NAMES, in_words, visible_pixels
from vae_exp.models.vae import top_half


def square(mask: str, seed: int = 0) -> Tensor:
    return visible_pixels(mask, seed).view(28, 28)


def picture(path: Path, white: np.ndarray) -> str:
    matplotlib.image.imsave(path, np.repeat(white[..., None].astype(float), 3, -1))
    return str(path)


def test_the_named_parts_are_where_their_names_say():
    row, column = np.indices((28, 28))
    expected = {
        "top": row < 14,
        "bottom": row >= 14,
        "left": column < 14,
        "right": column >= 14,
        "centre": (row >= 7) & (row < 21) & (column >= 7) & (column < 21),
    }
    assert set(expected) == set(NAMES)
    for name, inside in expected.items():
        assert np.array_equal(square(name).numpy(), inside), name


@pytest.mark.parametrize(("one", "other"), [("top", "bottom"), ("left", "right")])
def test_opposite_halves_are_a_partition(one: str, other: str):
    assert torch.equal(visible_pixels(one), ~visible_pixels(other))


def test_the_top_is_the_models_top_half():
    x = torch.arange(784.0)
    assert torch.equal(x[visible_pixels("top")], top_half(x))


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9])
def test_a_random_mask_shows_its_share_of_the_pixels(share: float):
    assert visible_pixels(f"random:{share}").sum() == round(share * 784)


def test_a_random_mask_is_a_function_of_the_seed_and_lies_everywhere():
    assert torch.equal(square("random:0.5", 3), square("random:0.5", 3))
    same = (square("random:0.5", 0) == square("random:0.5", 1)).float().mean()
    assert 0.4 < same < 0.6  # as two independent draws
    for seen in (square("random:0.5"), square("random:0.5").T):
        assert ((seen.sum(1) > 3) & (seen.sum(1) < 25)).all()


def test_the_white_of_a_picture_is_visible(tmp_path: Path):
    white = np.zeros((28, 28), bool)
    white[2:5, 10:27] = True  # a transposed or mirrored reading would differ
    assert np.array_equal(square(picture(tmp_path / "hole.png", white)).numpy(), white)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ("diagonal", "'diagonal'"),
        ("", "''"),
        ("top half", "'top half'"),
        ("random:", "''"),
        ("random:half", "'half'"),
        ("random:0", "'0'"),
        ("random:1", "'1'"),
        ("random:nan", "'nan'"),
        ("random:0.0001", "0 of 784"),
        ("random:0.9999", "784 of 784"),
        ("nowhere.png", "nowhere.png does not exist"),
    ],
)
def test_a_bad_mask_is_refused_in_one_line(mask: str, told: str):
    with pytest.raises(UserError) as refused:
        visible_pixels(mask)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bad_picture_is_refused_in_one_line(tmp_path: Path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    cases = {
        str(text): "is not a PNG",
        picture(tmp_path / "small.png", np.ones((14, 28), bool)): "28 x 28 pixels, got 28 x 14",
        picture(tmp_path / "black.png", np.zeros((28, 28), bool)): "0 of 784",
        picture(tmp_path / "white.png", np.ones((28, 28), bool)): "784 of 784",
        str(tmp_path): "must be one of",
    }
    for mask, told in cases.items():
        with pytest.raises(UserError, match="mask") as refused:
            visible_pixels(mask)
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_mask_has_words_for_titles():
    assert in_words("left") == "its left half"
    assert in_words("centre") == "its centre"
    assert in_words("random:0.25") == "a random 25 % of it"
    assert in_words("a/b.png") == "the part white in b.png"
