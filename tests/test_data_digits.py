"""The bundled digits, brought to 28×28, are what MNIST's recipe makes of them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits as load_bundled

from vae_exp.data.sources.digits import COUNT, Digits
from vae_exp.data.sources.mnist import Mnist


@pytest.fixture(scope="module")
def fields() -> npt.NDArray[np.uint8]:
    return Digits().training().pixels


def test_every_bundled_digit_is_there_with_its_label(fields: npt.NDArray[np.uint8]):
    labels = Digits().training().labels
    assert fields.shape == (COUNT, 28, 28)
    assert fields.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, load_bundled().target)
    assert np.bincount(labels).min() >= 174


def test_ink_fills_a_box_of_twenty_pixels_and_no_more(fields: npt.NDArray[np.uint8]):
    def extent(ink: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return 28 - ink.argmax(axis=1) - ink[:, ::-1].argmax(axis=1)

    height, width = extent((fields > 0).any(axis=2)), extent((fields > 0).any(axis=1))
    longest = np.maximum(height, width)
    assert longest.max() == 20
    assert (longest >= 19).mean() > 0.99


def test_the_centre_of_mass_is_the_centre_of_the_field(fields: npt.NDArray[np.uint8]):
    centres = np.array([ndimage.center_of_mass(field) for field in fields.astype(float)])
    assert np.abs(centres - 13.5).max() <= 0.5 + 1e-9


def test_aspect_and_shape_are_kept(fields: npt.NDArray[np.uint8]):
    for field, ink in zip(fields[:100], load_bundled().images, strict=False):
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        rows, columns = np.flatnonzero(field.any(1)), np.flatnonzero(field.any(0))
        box = field[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert abs(box.shape[0] * ink.shape[1] / ink.shape[0] - box.shape[1]) <= 2
        scale = [small / large for small, large in zip(ink.shape, box.shape, strict=True)]
        small = ndimage.zoom(box.astype(float), scale, order=1, grid_mode=True, mode="nearest")
        assert np.corrcoef(small.ravel(), ink.ravel())[0, 1] > 0.9


def test_intensities_span_black_to_white(fields: npt.NDArray[np.uint8]):
    assert fields.min() == 0
    assert (fields.max(axis=(1, 2)) > 230).mean() > 0.99
    white = (fields > 127).mean()
    assert 0.08 < white < 0.25


def test_their_nearest_neighbours_in_mnist_know_most_of_them(
    fields: npt.NDArray[np.uint8], mnist: Path
):
    def unit(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        blurred = ndimage.gaussian_filter(pixels.reshape(-1, 28, 28).astype(np.float32), (0, 1, 1))
        flat = blurred.reshape(len(pixels), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    images = Mnist(mnist, mirrors=[]).test()
    known, labels = unit(images.pixels[:3_000]), images.labels
    truth = Digits().training().labels[:500]
    upright, mirrored = fields[:500], fields[:500].transpose(0, 2, 1)
    right = [
        (labels[(unit(f) @ known.T).argmax(axis=1)] == truth).mean() for f in (upright, mirrored)
    ]
    assert right[0] > 0.6
    assert right[1] < 0.3


def test_strokes_survive_the_threshold(fields: npt.NDArray[np.uint8]):
    labels = Digits().training().labels
    black = fields <= 127
    pieces = np.array([ndimage.label(~field, np.ones((3, 3)))[1] for field in black])
    holes = np.array([ndimage.label(field)[1] - 1 for field in black])
    assert (pieces == 1).mean() > 0.97
    typical = [np.bincount(holes[labels == digit]).argmax() for digit in range(10)]
    assert typical == [1, 0, 0, 0, 0, 0, 1, 0, 2, 1]
